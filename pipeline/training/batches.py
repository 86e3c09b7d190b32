"""Batches for TensorFlow from prepared pictures. A batch costs its own pictures, whatever their number.

Reading is on all cores, a batch on each and two more ahead. tf.data keeps the order of the batches.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import tensorflow as tf
from joblib import cpu_count

from pipeline.data.augment import augment_images, augment_masks, random_maps
from pipeline.data.dataset import Dataset


def training_batches(
    data: Dataset, batch_size: int, seed: int, first_epoch: int = 0, augmentation: str = "none"
) -> tf.data.Dataset:
    """Return endless batches of the train split from `first_epoch` on, `steps_per_epoch` of them to an epoch.

    Seed and epoch alone decide an epoch: a permutation of all rows, and with augmentation "chapter" a map for each
    picture and its mask. So a resumed training sees the batches of an uninterrupted one. The last batch of an epoch
    holds what is left. Batches are as those of `ordered_batches`.
    """
    rows, steps, is_augmented = data.rows("train"), steps_per_epoch(data, batch_size), augmentation != "none"

    @lru_cache(maxsize=2)  # prefetching reaches into the next epoch
    def plan(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((seed, epoch))
        return rng.permutation(rows), random_maps(rng, len(rows) if is_augmented else 0, data.image_size)

    def gather(step: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, batch = divmod(step, steps)
        part = slice(batch * batch_size, (batch + 1) * batch_size)
        order, maps = plan(epoch)
        images, targets = data.images[order[part]], data.targets[order[part]]
        if not is_augmented:
            return images, targets
        return augment_images(images, maps[part]), augment_masks(targets, maps[part]) if data.has_masks else targets

    return _batches(data, gather, tf.data.Dataset.counter(first_epoch * steps))


def steps_per_epoch(data: Dataset, batch_size: int) -> int:
    """Return the number of batches in one epoch of the train split."""
    return -(-len(data.rows("train")) // batch_size)


def ordered_batches(data: Dataset, split: str, batch_size: int) -> tf.data.Dataset:
    """Return every picture of a split once, in the order of `data.rows(split)`.

    A batch is uint8 pictures (batch, size, size, 3), and uint8 masks (batch, size, size) or labels (batch, 1).
    """
    rows = data.rows(split)

    def gather(start: int) -> tuple[np.ndarray, np.ndarray]:
        part = rows[start : start + batch_size]
        return data.images[part], data.targets[part]

    return _batches(data, gather, tf.data.Dataset.range(0, len(rows), batch_size))


def _batches(
    data: Dataset, gather: Callable[[int], tuple[np.ndarray, np.ndarray]], keys: tf.data.Dataset
) -> tf.data.Dataset:
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
