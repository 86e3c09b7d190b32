"""Packed arrays -> tf.data batches. The arrays stay on the disk: a batch costs its own pictures, whatever their number.

Reading is on all cores, a batch on each and two more ahead. tf.data keeps the order of the batches.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from joblib import cpu_count

from pipeline.data.augment import augment, random_maps
from pipeline.errors import InputError
from pipeline.paths import PREPARED
from pipeline.tasks import SPECIES


class PackedArray:
    """The rows of a .npy file of uint8, read as they are asked for.

    A mapped file would do the same, but its pages count as this process' memory, until they are the whole file.
    Raises what np.load raises for a file that is missing, broken, or shorter than it says.
    """

    def __init__(self, path: Path):
        mapped = np.load(path, mmap_mode="r")  # to have it checked
        if mapped.dtype != np.uint8 or not mapped.flags.c_contiguous:
            raise ValueError(f"{path.name} holds {mapped.dtype}; allowed: uint8, row by row")
        self.shape, self.offset = mapped.shape, mapped.offset
        self.file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (rows, ...) for an array of row numbers."""
        found = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for target, row in zip(found, rows, strict=True):
            if os.preadv(self.file.fileno(), [target], self.offset + int(row) * target.nbytes) < target.nbytes:
                raise EOFError(f"{self.file.name}: no row {row}; has the file been written anew?")
        return found


@dataclass(frozen=True)
class Dataset:
    """The prepared pictures of one model.

    samples: a row per picture (stem, species, breed, split).
    images: uint8 (pictures, size, size, 3).
    targets: uint8; masks of classes (pictures, size, size) for the segmenter, labels (pictures, 1) for the classifier.
    replicas: how many devices share each batch; of a split, as many pictures are used as can be shared evenly.
    """

    samples: pd.DataFrame
    images: PackedArray | np.ndarray
    targets: PackedArray | np.ndarray
    replicas: int = 1

    @property
    def image_size(self) -> int:
        """Pixels, height and width."""
        return self.images.shape[1]

    def rows(self, split: str) -> np.ndarray:
        """Indices of the pictures of a split: "train", "validation" or "test"."""
        rows = np.flatnonzero(self.samples["split"] == split)
        return rows[: len(rows) - len(rows) % self.replicas]


def load_dataset(task: str, replicas: int = 1) -> Dataset:
    """Open what `preprocess` wrote for a task, "segmenter" or "classifier". Raises InputError if that is not whole."""
    folder = PREPARED / task
    try:
        samples = pd.read_csv(folder / "samples.csv", keep_default_na=False)
        images = PackedArray(folder / "images.npy")
        if task == "segmenter":
            targets = PackedArray(folder / "masks.npy")
        else:
            targets = (samples["species"] == SPECIES[1]).to_numpy(np.uint8)[:, None]
    except (OSError, EOFError, ValueError, KeyError, AttributeError) as error:  # AttributeError: an .npz
        raise InputError(f"{folder}: {error}; `dvc repro preprocess_{task}` makes it") from None
    if not len(samples) == len(images) == len(targets):
        masks = f", {len(targets)} in masks.npy" if task == "segmenter" else ""
        rows = f"{len(samples)} rows in samples.csv, {len(images)} in images.npy{masks}"
        raise InputError(f"{folder}: {rows}; `dvc repro preprocess_{task}` makes it")
    data = Dataset(samples, images, targets, replicas)
    for split in ("train", "validation"):
        if not len(data.rows(split)):
            found = (data.samples["split"] == split).sum()
            raise InputError(f"{folder}: {found} {split} pictures; allowed: at least {replicas}, one for each replica")
    return data


def training_batches(
    data: Dataset, batch_size: int, seed: int, first_epoch: int = 0, augmented: bool = False
) -> tf.data.Dataset:
    """Endless batches of the train split from `first_epoch` on, `steps_per_epoch` of them to an epoch.

    Each epoch is a permutation of all rows, and a map for each if pictures are to be augmented, which depend on
    (seed, epoch) alone, so that a resumed training sees the batches an uninterrupted one would have seen. The last
    batch of an epoch holds what is left.
    """
    rows, steps = data.rows("train"), steps_per_epoch(data, batch_size)

    @lru_cache(maxsize=2)  # prefetching reaches into the next epoch
    def plan(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((seed, epoch))
        return rng.permutation(rows), random_maps(rng, len(rows) if augmented else 0, data.image_size)

    def gather(step: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, batch = divmod(step, steps)
        part = slice(batch * batch_size, (batch + 1) * batch_size)
        order, maps = plan(epoch)
        images, targets = data.images[order[part]], data.targets[order[part]]
        return augment(images, maps[part]) if augmented else images, targets

    return _batches(data, gather, tf.data.Dataset.counter(first_epoch * steps))


def steps_per_epoch(data: Dataset, batch_size: int) -> int:
    """Batches in one epoch of the train split."""
    return -(-len(data.rows("train")) // batch_size)


def ordered_batches(data: Dataset, split: str, batch_size: int) -> tf.data.Dataset:
    """Every picture of a split once, in the order of `data.rows(split)`."""
    rows = data.rows(split)

    def gather(start: int) -> tuple[np.ndarray, np.ndarray]:
        part = rows[start : start + batch_size]
        return data.images[part], data.targets[part]

    return _batches(data, gather, tf.data.Dataset.range(0, len(rows), batch_size))


def _batches(
    data: Dataset, gather: Callable[[int], tuple[np.ndarray, np.ndarray]], keys: tf.data.Dataset
) -> tf.data.Dataset:
    """(images uint8 (batch, size, size, 3), targets uint8) for each key."""

    def load(key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Not stateful, or deterministic ops would have it run for one batch at a time.
        images, targets = tf.numpy_function(lambda key: gather(int(key)), [key], (tf.uint8, tf.uint8), stateful=False)
        return (
            tf.ensure_shape(images, (None, *data.images.shape[1:])),
            tf.ensure_shape(targets, (None, *data.targets.shape[1:])),
        )

    options = tf.data.Options()
    # The tuner's thread wakes at 10 ms doubled each time, and an iterator waits for it at its end: seconds per epoch.
    options.autotune.enabled = False
    return keys.map(load, num_parallel_calls=cpu_count()).prefetch(2).with_options(options)
