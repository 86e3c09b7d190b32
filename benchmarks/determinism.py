"""What deterministic ops cost: training pictures per second with and without them.

    python -m benchmarks.determinism [--rounds 5]       a quarter of an hour on 2 cores

Both models at the chapter's sizes and batches, on random pictures, by the code of the stage train. Each measurement is
a process of its own, with and without in turn; the epoch in which TensorFlow traces is not counted.
"""

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipeline.dataset import Dataset, steps_per_epoch, training_batches
from pipeline.devices import keras_policy
from pipeline.models import ARCHITECTURES
from pipeline.params import load_params
from pipeline.stage import TASKS
from pipeline.twin import is_augmented, objective, training_twin

PICTURES = 192


class Clock(keras.callbacks.Callback):
    """The seconds of the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds = time.monotonic() - self.start


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
    model = ARCHITECTURES[training.architecture](size)
    twin = training_twin(model, keras_policy(training.precision))
    loss, accuracy = objective(task)
    twin.compile(keras.optimizers.RMSprop(training.learning_rate), loss, metrics=[accuracy])
    batches = training_batches(data, training.batch_size, training.seed, augmented=is_augmented(model))
    steps = steps_per_epoch(data, training.batch_size)
    twin.fit(batches, steps_per_epoch=steps, epochs=2, shuffle=False, verbose=0, callbacks=[clock])
    return PICTURES / clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.determinism")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print("| model | deterministic, pictures/s | not | ratio |\n| --- | --- | --- | --- |")
    spawn = multiprocessing.get_context("spawn")  # what TensorFlow once set stays: a fresh process for each
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as processes:
        for task in TASKS:
            found = {True: [], False: []}
            for _, deterministic in ((k, way) for k in range(rounds) for way in found):
                found[deterministic].append(processes.submit(measure, task, deterministic).result())
            medians = {way: np.median(speeds) for way, speeds in found.items()}
            cells = [f"{medians[way]:.1f} ({min(speeds):.1f} to {max(speeds):.1f})" for way, speeds in found.items()]
            print(f"| {task} | {' | '.join(cells)} | {medians[True] / medians[False]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
