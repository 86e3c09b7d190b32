"""Batches from a tiny prepared folder in which every picture shows its own row number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import tensorflow as tf

from pipeline.data.dataset import Dataset, PackedArray, load_dataset, ordered_batches, steps_per_epoch, training_batches
from pipeline.errors import InputError

SIZE = 4
SPLITS = ["test", "train", "train", "duplicate", "validation", "train", "train", "train", "test", "train"] * 2
TRAIN = [1, 2, 5, 6, 7, 9, 11, 12, 15, 16, 17, 19]
FILES = {"images": "images.npy", "targets": "masks.npy"}
SPECIES = ["cat", "dog", "dog", "cat", "dog"] * 4


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """data/prepared as preprocess writes it: picture k is filled with k, its mask with k % 3."""
    monkeypatch.chdir(tmp_path)
    stems = [f"breed_{k}" for k in range(len(SPLITS))]
    samples = pd.DataFrame({"stem": stems, "species": SPECIES, "breed": "breed", "split": SPLITS})
    rows = np.arange(len(SPLITS), dtype=np.uint8)[:, None, None]
    for task in ("segmenter", "classifier"):
        folder = Path("data/prepared") / task
        folder.mkdir(parents=True)
        samples.to_csv(folder / "samples.csv", index=False)
        np.save(folder / "images.npy", np.broadcast_to(rows[..., None], (len(SPLITS), SIZE, SIZE, 3)))
    np.save("data/prepared/segmenter/masks.npy", np.broadcast_to(rows % 3, (len(SPLITS), SIZE, SIZE)))


@pytest.fixture
def data() -> Dataset:
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


def test_duplicates_are_in_no_split(data):
    rows = np.concatenate([data.rows(split) for split in ("train", "validation", "test")])
    assert sorted(rows) == [k for k in range(20) if k not in (3, 13)]


def test_replicas_get_as_many_pictures_each():
    data = replace(many(17), replicas=5)  # of which 2 are left out
    for epoch in epochs(data, 2, batch_size=10):
        assert [len(batch) for batch in epoch] == [10, 5]


def test_a_split_that_is_too_small_for_the_replicas_is_an_error():
    error = "^data/prepared/classifier: 2 validation pictures; allowed: at least 3, one for each replica$"
    with pytest.raises(InputError, match=error):
        load_dataset("classifier", replicas=3)


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
            training_batches(data, batch_size, seed, first, augmented=True).take(2 * steps).as_numpy_iterator()
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


def test_masks_go_with_their_pictures():
    for images, masks in training_batches(load_dataset("segmenter"), 5, seed=7).take(3).as_numpy_iterator():
        np.testing.assert_array_equal(masks, images[..., 0] % 3)


@pytest.mark.parametrize(("task", "target_shape"), [("segmenter", (SIZE, SIZE)), ("classifier", (1,))])
def test_batches_are_uint8_and_know_all_shapes_but_their_length(task, target_shape):
    data = load_dataset(task)
    assert data.image_size == SIZE
    for batches in (training_batches(data, 5, seed=7), ordered_batches(data, "test", 5)):
        assert batches.element_spec == (
            tf.TensorSpec((None, SIZE, SIZE, 3), tf.uint8),
            tf.TensorSpec((None, *target_shape), tf.uint8),
        )
        images, targets = next(batches.as_numpy_iterator())
        assert (images.dtype, targets.dtype) == (np.uint8, np.uint8)


@pytest.mark.parametrize("name", ["images", "targets"])
def test_an_array_gives_the_rows_that_are_asked_for_as_copies(name):
    array, whole = getattr(load_dataset("segmenter"), name), np.load(f"data/prepared/segmenter/{FILES[name]}")
    assert (len(array), array.shape) == (20, whole.shape)
    for rows in ([3, 17, 3], [0], []):
        np.testing.assert_array_equal(array[np.array(rows, int)], whole[rows])
    array[np.array([0])][:] = 99
    np.testing.assert_array_equal(array[np.array([0])], whole[[0]])


def test_a_row_that_is_not_there_is_an_error_not_what_memory_holds():
    array = load_dataset("segmenter").images
    with pytest.raises(EOFError, match="no row 20"):
        array[np.array([20])]


def test_arrays_stay_on_disk():
    np.save("data/prepared/classifier/images.npy", np.zeros((1000, 100, 100, 3), np.uint8))
    array = PackedArray(Path("data/prepared/classifier/images.npy"))
    before = psutil.Process().memory_info().rss
    for start in range(0, 1000, 10):
        array[np.arange(start, start + 10)]
    assert psutil.Process().memory_info().rss - before < 10e6, "of 30e6 that were read"


def test_names_that_look_like_missing_values_stay_names():
    path = Path("data/prepared/classifier/samples.csv")
    path.write_text(path.read_text().replace("breed_0,cat,breed", "null,cat,NA"))
    first = load_dataset("classifier").samples.iloc[0]
    assert (first["stem"], first["breed"]) == ("null", "NA")


def load_error(task: str) -> str:
    with pytest.raises(InputError) as caught:
        load_dataset(task)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"data/prepared/{task}: ")
    assert f"`dvc repro preprocess_{task}`" in line
    return line


SEGMENTER_FILES = ["samples.csv", "images.npy", "masks.npy"]


@pytest.mark.parametrize("name", SEGMENTER_FILES)
def test_a_missing_file_is_named_with_the_command_that_makes_it(name):
    Path("data/prepared/segmenter", name).unlink()
    assert name in load_error("segmenter")


@pytest.mark.parametrize("name", SEGMENTER_FILES)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00 text\n"], ids=["empty", "other bytes"])
def test_a_broken_file_is_one_line_with_the_command_that_makes_it(name, content):
    Path("data/prepared/segmenter", name).write_bytes(content)
    load_error("segmenter")


def test_an_archive_of_arrays_is_no_array():
    path = Path("data/prepared/segmenter/masks.npy")
    masks = np.load(path)
    with path.open("wb") as file:
        np.savez(file, masks)
    load_error("segmenter")


@pytest.mark.parametrize("name", ["images.npy", "masks.npy"])
def test_an_array_that_is_cut_off_is_one_line_with_the_command_that_makes_it(name):
    path = Path("data/prepared/segmenter", name)
    path.write_bytes(path.read_bytes()[:-1])
    load_error("segmenter")


@pytest.mark.parametrize("task", ["segmenter", "classifier"])
def test_samples_of_another_number_than_the_arrays_are_counted(task):
    path = Path("data/prepared", task, "samples.csv")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    line = load_error(task)
    assert "19 rows in samples.csv" in line
    assert "20 in images.npy" in line


def test_masks_of_another_number_than_the_pictures_are_counted():
    np.save("data/prepared/segmenter/masks.npy", np.zeros((7, SIZE, SIZE), np.uint8))
    assert "7 in masks.npy" in load_error("segmenter")
