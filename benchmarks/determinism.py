"""What deterministic ops cost: training pictures per second with and without them.

    python -m benchmarks.determinism [--rounds 5]       a quarter of an hour on 2 cores

Both models at the chapter's sizes and batches, on random pictures, by the code of the stage train. Each measurement is
a process of its own, with and without in turn; the epoch in which TensorFlow traces is not counted.
"""

import argparse
from functools import partial

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from benchmarks.measure import in_process, ratios, side_by_side, spread, table
from benchmarks.training import Clock
from pipeline.data.dataset import Dataset
from pipeline.params import load_params
from pipeline.tasks import TASKS
from pipeline.training.batches import steps_per_epoch, training_batches
from pipeline.training.devices import keras_policy
from pipeline.training.setup import build_model
from pipeline.training.twin import training_twin

PICTURES = 192


def random_pictures(task: str, size: int) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (PICTURES, size, size, 3), np.uint8)
    shape, classes = ((PICTURES, size, size), 3) if task == "segmenter" else ((PICTURES, 1), 2)
    return Dataset(pd.DataFrame({"split": ["train"] * PICTURES}), images, rng.integers(0, classes, shape, np.uint8))


def measure(task: str, deterministic: bool) -> float:
    """Pictures per second in an epoch after the first."""
    params = load_params()
    training, size = getattr(params, f"train_{task}"), getattr(params.preprocess, f"{task}_size")
    data, clock = random_pictures(task, size), Clock()
    keras.utils.set_random_seed(training.seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    model = build_model(task, training.architecture, data)
    twin, loss, accuracy = training_twin(model, keras_policy(training.precision))
    twin.compile(keras.optimizers.RMSprop(training.learning_rate), loss, metrics=[accuracy])
    twin.fit(
        training_batches(data, training.batch_size, training.seed, augmentation=training.augmentation),
        steps_per_epoch=steps_per_epoch(data, training.batch_size),
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: clock.log_later([]))],
    )
    return PICTURES / (clock.ends[1] - clock.ends[0])


def compare(task: str, rounds: int) -> dict[str, str]:
    """A row of the table."""
    ways = {name: partial(in_process, measure, task, name == "with") for name in ("with", "without")}
    speeds = side_by_side(ways, rounds)
    cells = {f"{name}, pictures/s": spread(found) for name, found in speeds.items()}
    return {"model": task} | cells | {"ratio": spread(ratios(speeds["with"], speeds["without"]))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.determinism")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(table([compare(task, given.rounds) for task in TASKS]))
