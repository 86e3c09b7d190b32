"""Stages train_segmenter and train_classifier: packed arrays -> the best checkpoint by validation loss.

    python -m pipeline.train segmenter
    python -m pipeline.train classifier

Reads   data/prepared/TASK/
Writes  data/models/TASK.keras   plain Keras, no optimizer state; the same bytes for the same training (not by XLA)
        data/history/TASK.csv    epoch (from 1), loss, accuracy, val_loss, val_accuracy
        a run in MLflow, live

An interrupted training goes on after its last whole epoch: its state lies under .training/, named by everything that
decides the result.
"""

import hashlib
import os
import sys
import time
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf
from filelock import FileLock
from joblib import cpu_count

from pipeline.data.dataset import Dataset, load_dataset, ordered_batches, steps_per_epoch, training_batches
from pipeline.errors import writing
from pipeline.inputs import content_md5
from pipeline.models import ARCHITECTURES
from pipeline.params import Train, load_params
from pipeline.paths import HISTORY, MODELS, PREPARED, root
from pipeline.revisions import is_up_to_date
from pipeline.stage import LOCK_TIMEOUT, run, task_argument
from pipeline.tracking.lineage import Training, stored_history
from pipeline.tracking.runs import open_run
from pipeline.tracking.tracked import TrackedRun
from pipeline.training.checkpoint import TrainingState, done_history, history_csv, prune_states, save_checkpoint
from pipeline.training.devices import device, keras_policy, strategy
from pipeline.training.twin import is_augmented, objective, training_twin


class EpochLine(keras.callbacks.Callback):
    """One line per epoch, for logs; a terminal gets Keras' progress bar instead."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in sorted(logs.items()))
        seconds = time.monotonic() - self.start
        print(f"{self.model.name} epoch {epoch + 1}/{self.params['epochs']}: {figures}, {seconds:.1f} s", flush=True)


def fit(
    model: keras.Model, augmented: bool, data: Dataset, params: Train, state: TrainingState, tracked: TrackedRun
) -> None:
    """Train from where the state stands to the last epoch."""
    first = len(state.history)
    report = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: tracked.log_later(state.history))
    terminal = sys.stdout.isatty()
    model.fit(
        training_batches(data, params.batch_size, params.seed, first, augmented),
        steps_per_epoch=steps_per_epoch(data, params.batch_size),
        initial_epoch=first,
        epochs=params.epochs,
        validation_data=ordered_batches(data, "validation", params.batch_size),
        shuffle=False,  # the batches are
        callbacks=[state, report, *([] if terminal else [EpochLine()])],
        verbose="auto" if terminal else 0,
    )


def state_path(task: str, params: Train, data_md5: str) -> Path:
    """A name that changes with the parameters, the prepared data, the code, and what else decides the last digits."""
    modules = ("__init__", "train", "models", "twin", "devices", "dataset", "augment", "checkpoint")
    code = [Path(__file__).with_name(f"{module}.py").read_bytes() for module in modules]
    key = hashlib.sha256(b"\0".join([params.model_dump_json().encode(), data_md5.encode(), *code]))
    set_by_user = [os.environ.get(name) for name in ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA")]
    threads, on = os.environ.get("TF_NUM_INTRAOP_THREADS") or cpu_count(), device(params.precision)
    versions = [library.__version__ for library in (cv2, keras, np, tf)]
    key.update(f"{versions} {on} {threads} {set_by_user}".encode())
    return root() / ".training" / f"{task}-{key.hexdigest()[:16]}.npz"


def new_models(task: str, params: Train, image_size: int) -> tuple[keras.Model, keras.Model]:
    """The chapter's model, with the weights that the seed decides, and its compiled twin, which trains."""
    spread = strategy(params.replicas)  # before anything is computed
    keras.utils.clear_session()  # layers are named by counting them: from the start, or the checkpoint's bytes differ
    keras.utils.set_random_seed(params.seed)
    if not params.jit_compile:  # XLA has no deterministic kernels for all of what the models do; Keras turns it off
        tf.config.experimental.enable_op_determinism()
    model, policy = ARCHITECTURES[params.architecture](image_size), keras_policy(params.precision)
    with spread.scope():
        twin, optimizer = training_twin(model, policy), keras.optimizers.RMSprop(params.learning_rate)
        if policy == "mixed_float16":  # whose small gradients vanish
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(twin.trainable_variables)  # so that a state can be restored to it
        loss, accuracy = objective(task)
        twin.compile(optimizer, loss, metrics=[accuracy], jit_compile=params.jit_compile)
    print(f"{model.name}: {model.count_params():,} parameters, on {device(params.precision)}")
    return model, twin


def train(task: str) -> None:
    """Train a task's model, "segmenter" or "classifier", or go on with its training.

    Raises InputError for wrong parameters, missing data, or a loss that is nan or infinite.
    """
    params: Train = getattr(load_params(), f"train_{task}")
    data = load_dataset(task, params.replicas)
    model, twin = new_models(task, params, data.image_size)
    data_md5 = content_md5(PREPARED / task)
    state = TrainingState(state_path(task, params, data_md5), params.epochs)
    lock = state.path.with_suffix(".lock")
    training = Training(task, params.model_dump() | {"image_size": data.image_size}, data_md5)
    with FileLock(lock, timeout=LOCK_TIMEOUT):  # two experiments in folders of their own may be the same training
        prune_states(task, stored_history(task))
        if is_forced(task, state):
            state.path.unlink()
        state.restore(twin)
        with open_run(training, device(params.precision), state.run_id) as tracked:
            state.run_id = tracked.run_id
            state.save()
            fit(twin, is_augmented(model), data, params, state, tracked)
            write_outputs(model, state, task)
            tracked.finish()
        if "DVC_STAGE" not in os.environ:  # else DVC stores the outputs after this process, and what comes next prunes
            state.path.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)


def is_forced(task: str, state: TrainingState) -> bool:
    """Whether this training is done, and DVC, which has its outputs, runs it again: only with --force it does."""
    return "DVC_STAGE" in os.environ and done_history(state.path) != "" and is_up_to_date(f"train_{task}")


@writing(HISTORY)
def write_outputs(model: keras.Model, state: TrainingState, task: str) -> None:
    save_checkpoint(model, state.best, MODELS / f"{task}.keras")
    HISTORY.mkdir(parents=True, exist_ok=True)
    (HISTORY / f"{task}.csv").write_text(history_csv(state.history))


if __name__ == "__main__":
    run(train, task_argument())
