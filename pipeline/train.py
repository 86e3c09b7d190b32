"""Stages train_segmenter and train_classifier: packed arrays -> the best checkpoint by validation loss.

    python -m pipeline.train segmenter
    python -m pipeline.train classifier

Reads   data/prepared/TASK/
Writes  data/models/TASK.keras   plain Keras, no optimizer state; the same bytes for the same training (not by XLA)
        data/history/TASK.csv    epoch (from 1), loss, accuracy, val_loss, val_accuracy; grows as the training goes on
        a run in MLflow: live while the training is at work, then whole

An interrupted training goes on after its last whole epoch: its state lies under .training/, named by everything that
decides the result.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
from filelock import FileLock

from pipeline.data.dataset import Dataset, load_dataset
from pipeline.inputs import unchanged
from pipeline.outputs import replacing
from pipeline.params import Train, load_params
from pipeline.paths import HISTORY, MODELS, PREPARED
from pipeline.stage import alone, run, task_argument
from pipeline.tracking.lineage import Origin
from pipeline.tracking.live import LiveRun
from pipeline.tracking.record import record_training
from pipeline.tracking.results import decided
from pipeline.training.batches import ordered_batches, steps_per_epoch, training_batches
from pipeline.training.checkpoint import history_csv, save_checkpoint
from pipeline.training.devices import device
from pipeline.training.housekeeping import forget_old
from pipeline.training.setup import new_models
from pipeline.training.state import TrainingState, state_path

Watcher = Callable[[list[dict[str, float]]], None]


def fit(twin: keras.Model, data: Dataset, params: Train, state: TrainingState, *watchers: Watcher) -> None:
    """Train from where the state stands to the last epoch. watchers: get the history after each epoch.

    Print one line per epoch, for logs; a terminal gets Keras' progress bar instead.
    """
    first, terminal = len(state.history), sys.stdout.isatty()

    def report(epoch: int, logs: dict[str, float]) -> None:
        for watch in watchers:
            watch(state.history)
        if not terminal:
            values = ", ".join(f"{name} {value:.4f}" for name, value in sorted(logs.items()))
            print(f"{twin.name} epoch {epoch + 1}/{params.epochs}: {values}, {state.seconds:.1f} s so far", flush=True)

    twin.fit(
        training_batches(data, params.batch_size, params.seed, first, params.augmentation),
        steps_per_epoch=steps_per_epoch(data, params.batch_size),
        initial_epoch=first,
        epochs=params.epochs,
        validation_data=ordered_batches(data, "validation", params.batch_size),
        shuffle=False,  # the batches are
        callbacks=[state, keras.callbacks.LambdaCallback(on_epoch_end=report)],
        verbose="auto" if terminal else 0,
    )


def write_history(task: str, history: list[dict[str, float]]) -> None:
    """Write data/history/TASK.csv, the epochs so far."""
    with replacing(HISTORY / f"{task}.csv") as draft:
        draft.write_text(history_csv(history))


@contextmanager
def growing_history(task: str) -> Iterator[Watcher]:
    """Yield a watcher that writes the history as it grows. An interruption removes it: DVC does not replace a part.

    By hand there may be a checkpoint of an earlier training. Its history then stays until the end.
    """
    grows = not (MODELS / f"{task}.keras").exists()
    try:
        yield lambda history: write_history(task, history) if grows else None
    except BaseException:
        if grows:
            (HISTORY / f"{task}.csv").unlink(missing_ok=True)
        raise


def train(task: str) -> None:
    """Train a task's model, or go on with its training.

    Raises InputError for wrong parameters, missing data, a loss that is nan or infinite, or an input that was edited
    meanwhile.
    """
    with unchanged(f"train_{task}") as inputs:
        every = load_params()
        params: Train = getattr(every, f"train_{task}")
        data = load_dataset(task, params.replicas)
        shown = decided(task, every, data.image_size)
        origin = Origin.here(device(params.precision))
        model, twin = new_models(task, params, data)
        state = TrainingState(state_path(task, inputs, params.precision), params.epochs)
        lock = FileLock(state.path.with_suffix(".lock"))
        with alone(lock, f"train_{task}"):  # two experiments in folders of their own may be the same training
            state.restore(twin)
            live = LiveRun(task, shown, inputs[str(PREPARED / task)], origin, lock, state.history)
            with live, growing_history(task) as write:
                fit(twin, data, params, state, live.log_later, write)
            save_checkpoint(model, state.best, MODELS / f"{task}.keras")
            write_history(task, state.history)
    forget_old(task)
    record_training(task, shown, origin, state.seconds, live.lock.name)


if __name__ == "__main__":
    run(train, task_argument())
