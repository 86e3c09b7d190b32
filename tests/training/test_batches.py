"""Batches whose pictures show their row numbers: which pictures, in which order, how augmented."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from pipeline.data.dataset import Dataset, load_dataset
from pipeline.training.batches import ordered_batches, steps_per_epoch, training_batches
from tests.data.rows import SIZE, SPECIES, write_rows

TRAIN = [1, 2, 5, 6, 7, 9, 11, 12, 15, 16, 17, 19]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.chdir(tmp_path)
    write_rows("segmenter")
    write_rows("classifier")
    return load_dataset("classifier")


def in_memory(images: np.ndarray, targets: np.ndarray) -> Dataset:
    return Dataset(pd.DataFrame({"split": ["train"] * len(images)}), images, targets)


def shown(batches: tf.data.Dataset) -> list[list[int]]:
    """The row numbers in each batch."""
    return [images[:, 0, 0, 0].tolist() for images, _ in batches.as_numpy_iterator()]


def epochs(data: Dataset, count: int, batch_size: int = 5, seed: int = 7, first: int = 0) -> list[list[list[int]]]:
    """The row numbers in each batch of each epoch."""
    steps = steps_per_epoch(data, batch_size)
    batches = shown(training_batches(data, batch_size, seed, first).take(count * steps))
    return [batches[k * steps : (k + 1) * steps] for k in range(count)]


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


def test_each_epoch_shows_every_training_picture_once_and_no_other(data: Dataset) -> None:
    for batch_size, lengths in ((4, [4, 4, 4]), (5, [5, 5, 2]), (100, [12])):
        for epoch in epochs(data, 3, batch_size):
            assert [len(batch) for batch in epoch] == lengths
            assert sorted(flat(epoch)) == TRAIN


def test_seed_and_epoch_alone_decide_the_order_so_that_a_resumed_training_sees_the_same_batches(data: Dataset) -> None:
    found = epochs(data, 3)
    assert len({tuple(flat(epoch)) for epoch in (*found, *epochs(data, 1, seed=8))}) == 4
    assert epochs(data, 1, first=2) == found[2:]
    assert [flat(epoch) for epoch in epochs(data, 3, batch_size=3)] == [flat(epoch) for epoch in found]


def test_the_shuffle_is_global_and_composes_batches_anew_in_each_epoch() -> None:
    images = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None, None], (200, 1, 1, 3))
    first, second = epochs(in_memory(images, np.zeros((200, 1), np.uint8)), 2, batch_size=40)
    for batch in first:
        assert {row // 50 for row in batch} == {0, 1, 2, 3}
    assert not {frozenset(batch) for batch in first} & {frozenset(batch) for batch in second}


def test_ordered_batches_show_a_split_once_in_order_and_end(data: Dataset) -> None:
    assert shown(ordered_batches(data, "test", 3)) == [[0, 8, 10], [18]]
    assert shown(ordered_batches(data, "validation", 32)) == [[4, 14]]


def test_targets_go_with_their_pictures_and_batches_are_uint8_that_know_all_shapes_but_their_length(
    data: Dataset,
) -> None:
    for task, shape in (("classifier", (1,)), ("segmenter", (SIZE, SIZE))):
        for batches in (
            training_batches(load_dataset(task), 5, seed=7),
            ordered_batches(load_dataset(task), "test", 5),
        ):
            assert batches.element_spec == (
                tf.TensorSpec((None, SIZE, SIZE, 3), tf.uint8),
                tf.TensorSpec((None, *shape), tf.uint8),
            )
            for images, targets in batches.take(3).as_numpy_iterator():
                rows = images[:, 0, 0, 0]
                expected = images[..., 0] % 3 if task == "segmenter" else [[int(SPECIES[k] == "dog")] for k in rows]
                np.testing.assert_array_equal(targets, expected)


def test_augmented_pictures_depend_on_seed_and_epoch_alone_and_on_no_other_picture() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), np.uint8)
    data = in_memory(images, np.arange(30, dtype=np.uint8)[:, None])

    def pictures(batch_size: int, first: int = 0, seed: int = 7) -> list[dict[int, bytes]]:
        """Of two epochs, each picture by its row, which is its label."""
        steps = steps_per_epoch(data, batch_size)
        batches = list(training_batches(data, batch_size, seed, first, "chapter").take(2 * steps).as_numpy_iterator())
        parts = batches[:steps], batches[steps:]
        return [{int(k): x.tobytes() for xs, ks in part for x, k in zip(xs, ks[:, 0], strict=True)} for part in parts]

    first, second = pictures(8)
    assert pictures(30) == [first, second]
    assert pictures(8, first=1)[0] == second
    for other in (second, pictures(8, seed=8)[0], {row: images[row].tobytes() for row in range(30)}):
        assert sorted(first) == sorted(other)
        assert all(first[row] != other[row] for row in first)


def test_an_augmented_mask_stays_on_its_picture() -> None:
    """The classes as colours: nearest neighbour and bilinear agree but at edges and outside."""
    masks = np.ones((8, 40, 40), np.uint8)
    masks[:, 14:26, 8:20] = 0  # far enough from the border for any rotation and zoom
    data = in_memory(np.repeat(100 * masks[..., None], 3, axis=-1), masks)
    augmented, moved = next(training_batches(data, 8, seed=7, augmentation="chapter").as_numpy_iterator())
    assert (moved != masks).any(axis=(1, 2)).all()
    assert set(np.unique(moved)) == {0, 1}
    edge = (augmented[..., 0] != 0) & (augmented[..., 0] != 100)
    np.testing.assert_array_equal(augmented[..., 0][~edge] // 100, moved[~edge])
