"""Packed arrays -> tf.data batches. The arrays are memory-mapped: a batch costs one gather, whatever their size."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import tensorflow as tf

from pipeline.stage import PREPARED, SPECIES, InputError


@dataclass(frozen=True)
class Dataset:
    """The prepared pictures of one model.

    samples: a row per picture (stem, species, breed, split).
    images: uint8 (pictures, size, size, 3).
    targets: uint8; masks of classes (pictures, size, size) for the segmenter, labels (pictures, 1) for the classifier.
    """

    samples: pd.DataFrame
    images: np.ndarray
    targets: np.ndarray

    @property
    def image_size(self) -> int:
        """Pixels, height and width."""
        return self.images.shape[1]

    def rows(self, split: str) -> np.ndarray:
        """Indices of the pictures of a split: "train", "validation" or "test"."""
        return np.flatnonzero(self.samples["split"] == split)


def load_dataset(task: str) -> Dataset:
    """Open what `preprocess` wrote for a task, "segmenter" or "classifier". Raises InputError if that is not whole."""
    folder = PREPARED / task
    try:
        samples = pd.read_csv(folder / "samples.csv", keep_default_na=False)
        images = np.load(folder / "images.npy", mmap_mode="r")
        if task == "segmenter":
            targets = np.load(folder / "masks.npy", mmap_mode="r")
        else:
            targets = (samples["species"] == SPECIES[1]).to_numpy(np.uint8)[:, None]
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: {error}; `dvc repro preprocess` makes it") from None
    if not len(samples) == len(images) == len(targets):
        masks = f", {len(targets)} in masks.npy" if task == "segmenter" else ""
        rows = f"{len(samples)} rows in samples.csv, {len(images)} in images.npy{masks}"
        raise InputError(f"{folder}: {rows}; `dvc repro preprocess` makes it")
    return Dataset(samples, images, targets)


def training_batches(data: Dataset, batch_size: int, seed: int, first_epoch: int = 0) -> tf.data.Dataset:
    """Endless batches of the train split from `first_epoch` on, `steps_per_epoch` of them to an epoch.

    Each epoch is a permutation of all rows that depends on (seed, epoch) alone, so that a resumed training sees the
    batches an uninterrupted one would have seen. The last batch of an epoch holds what is left.
    """
    rows, steps = data.rows("train"), steps_per_epoch(data, batch_size)

    @lru_cache(maxsize=2)  # prefetching reaches into the next epoch
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((seed, epoch)).permutation(rows)

    def batch_rows(step: int) -> np.ndarray:
        epoch, batch = divmod(step, steps)
        return order(epoch)[batch * batch_size : (batch + 1) * batch_size]

    return _batches(data, batch_rows, tf.data.Dataset.counter(first_epoch * steps))


def steps_per_epoch(data: Dataset, batch_size: int) -> int:
    """Batches in one epoch of the train split."""
    return -(-len(data.rows("train")) // batch_size)


def ordered_batches(data: Dataset, split: str, batch_size: int) -> tf.data.Dataset:
    """Every picture of a split once, in the order of `data.rows(split)`."""
    rows = data.rows(split)
    starts = tf.data.Dataset.range(0, len(rows), batch_size)
    return _batches(data, lambda start: rows[start : start + batch_size], starts)


def _batches(data: Dataset, rows_of: Callable[[int], np.ndarray], keys: tf.data.Dataset) -> tf.data.Dataset:
    """(images uint8 (batch, size, size, 3), targets uint8) for each key."""

    def gather(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = rows_of(int(key))
        return data.images[rows], data.targets[rows]

    def load(key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, targets = tf.numpy_function(gather, [key], (tf.uint8, tf.uint8))
        return (
            tf.ensure_shape(images, (None, *data.images.shape[1:])),
            tf.ensure_shape(targets, (None, *data.targets.shape[1:])),
        )

    options = tf.data.Options()
    # The tuner's thread wakes at 10 ms doubled each time, and an iterator waits for it at its end: seconds per epoch.
    options.autotune.enabled = False
    return keys.map(load).prefetch(2).with_options(options)
