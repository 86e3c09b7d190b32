"""Batches whose pictures show their row numbers: which pictures, in which order, how augmented."""

from dataclasses import replace
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


def many(rows: int) -> Dataset:
    """A dataset of `rows` training pictures in memory."""
    images = np.broadcast_to(np.arange(rows, dtype=np.uint8)[:, None, None, None], (rows, 1, 1, 3))
    return Dataset(pd.DataFrame({"split": ["train"] * rows}), images, np.zeros((rows, 1), np.uint8))


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


@pytest.mark.parametrize(
    ("batch_size", "lengths"),
    [(1, [1] * 12), (4, [4, 4, 4]), (5, [5, 5, 2]), (12, [12]), (100, [12])],
)
def test_each_epoch_shows_every_training_picture_once_and_no_other(data, batch_size, lengths):
    for epoch in epochs(data, 3, batch_size):
        assert [len(batch) for batch in epoch] == lengths
        assert sorted(flat(epoch)) == TRAIN


def test_the_order_changes_with_the_epoch_and_with_the_seed(data):
    first, second = epochs(data, 2)
    (other_seed,) = epochs(data, 1, seed=8)
    assert len({tuple(flat(epoch)) for epoch in (first, second, other_seed)}) == 3


def test_seed_and_epoch_alone_decide_the_order(data):
    assert epochs(data, 3) == epochs(data, 3)
    by_fives, by_threes = epochs(data, 3), epochs(data, 3, batch_size=3)
    assert [flat(epoch) for epoch in by_fives] == [flat(epoch) for epoch in by_threes]


@pytest.mark.parametrize("resumed_at", [1, 2, 3])
def test_a_training_resumed_at_an_epoch_sees_the_batches_of_an_uninterrupted_one(data, resumed_at):
    assert epochs(data, 4 - resumed_at, first=resumed_at) == epochs(data, 4)[resumed_at:]


def test_the_shuffle_is_global_so_that_every_batch_draws_on_the_whole_split():
    data = many(200)
    for batch in epochs(data, 1, batch_size=40)[0]:
        assert {row // 50 for row in batch} == {0, 1, 2, 3}


def test_the_shuffle_parts_neighbours():
    steps = np.diff(flat(epochs(many(200), 1)[0]))
    assert np.sum(steps == 1) < 5  # one is to be expected


def test_batches_are_composed_anew_in_each_epoch():
    first, second = epochs(many(200), 2, batch_size=40)
    assert not {frozenset(batch) for batch in first} & {frozenset(batch) for batch in second}


def test_ordered_batches_show_a_split_once_in_order_and_end(data):
    assert shown(ordered_batches(data, "test", 3)) == [[0, 8, 10], [18]]
    assert shown(ordered_batches(data, "validation", 32)) == [[4, 14]]


def test_replicas_get_as_many_pictures_each():
    data = replace(many(17), replicas=5)  # of which 2 are left out
    for epoch in epochs(data, 2, batch_size=10):
        assert [len(batch) for batch in epoch] == [10, 5]


def test_labels_are_one_for_dogs_and_go_with_their_pictures(data):
    assert data.targets.shape == (20, 1)
    seen = list(training_batches(data, 5, seed=7).take(3).as_numpy_iterator())
    for images, labels in seen:
        assert labels.tolist() == [[int(SPECIES[row] == "dog")] for row in images[:, 0, 0, 0]]
    assert {int(label) for _, labels in seen for label in labels[:, 0]} == {0, 1}


def test_augmented_pictures_depend_on_seed_and_epoch_alone_and_on_no_other_picture():
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), np.uint8)
    data = Dataset(pd.DataFrame({"split": ["train"] * 30}), images, np.arange(30, dtype=np.uint8)[:, None])

    def pictures(batch_size: int, first: int = 0, seed: int = 7) -> list[dict[int, bytes]]:
        """Of two epochs, each picture by its row."""
        steps = steps_per_epoch(data, batch_size)
        batches = list(
            training_batches(data, batch_size, seed, first, augmentation="chapter").take(2 * steps).as_numpy_iterator()
        )
        parts = batches[:steps], batches[steps:]
        return [{int(k): x.tobytes() for xs, ks in part for x, k in zip(xs, ks[:, 0], strict=True)} for part in parts]

    assert pictures(8) == pictures(8) == pictures(30)
    assert pictures(8, first=1)[0] == pictures(8)[1]
    plain = {row: images[row].tobytes() for row in range(30)}
    for one, other in (
        (pictures(8)[0], pictures(8)[1]),
        (pictures(8)[0], pictures(8, seed=8)[0]),
        (pictures(8)[0], plain),
    ):
        assert sorted(one) == sorted(other)
        assert all(one[row] != other[row] for row in one)


def test_masks_go_with_their_pictures(data):
    for images, masks in training_batches(load_dataset("segmenter"), 5, seed=7).take(3).as_numpy_iterator():
        np.testing.assert_array_equal(masks, images[..., 0] % 3)


@pytest.mark.parametrize(("task", "target_shape"), [("segmenter", (SIZE, SIZE)), ("classifier", (1,))])
def test_batches_are_uint8_and_know_all_shapes_but_their_length(data, task, target_shape):
    data = load_dataset(task)
    assert data.image_size == SIZE
    for batches in (training_batches(data, 5, seed=7), ordered_batches(data, "test", 5)):
        assert batches.element_spec == (
            tf.TensorSpec((None, SIZE, SIZE, 3), tf.uint8),
            tf.TensorSpec((None, *target_shape), tf.uint8),
        )
        images, targets = next(batches.as_numpy_iterator())
        assert (images.dtype, targets.dtype) == (np.uint8, np.uint8)


def test_an_augmented_mask_stays_on_its_picture():
    """The classes as colours: nearest neighbour and bilinear agree but at edges and outside."""
    masks = np.ones((8, 40, 40), np.uint8)
    masks[:, 14:26, 8:20] = 0  # far enough from the border for any rotation and zoom
    images = np.repeat(100 * masks[..., None], 3, axis=-1)
    data = Dataset(pd.DataFrame({"split": ["train"] * 8}), images, masks)
    augmented, moved = next(training_batches(data, 8, seed=7, augmentation="chapter").as_numpy_iterator())
    assert (moved != masks).any(axis=(1, 2)).all()
    assert set(np.unique(moved)) == {0, 1}
    edge = (augmented[..., 0] != 0) & (augmented[..., 0] != 100)
    np.testing.assert_array_equal(augmented[..., 0][~edge] // 100, moved[~edge])


def test_augmentation_leaves_labels_and_validation_as_they_are(data):
    plain, augmented = (next(iter(training_batches(data, 12, 7, 0, how)))[1] for how in ("none", "chapter"))
    np.testing.assert_array_equal(plain, augmented)
