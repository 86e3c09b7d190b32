"""What preprocess wrote, opened: whole or one clear line. Every picture shows its own row number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.data.dataset import Dataset, PackedArray, load_dataset
from pipeline.errors import InputError
from tests.data.rows import SIZE, write_rows

TASKS = ["segmenter", "classifier"]
FILES = ["samples.csv", "images.npy", "targets.npy"]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for task in TASKS:
        write_rows(task)


@pytest.fixture
def data() -> Dataset:
    return load_dataset("classifier")


def test_a_dataset_knows_its_picture_size_and_whether_its_targets_are_masks() -> None:
    segmenter, classifier = (load_dataset(task) for task in TASKS)
    assert (segmenter.image_size, segmenter.has_masks, segmenter.targets.shape) == (SIZE, True, (20, SIZE, SIZE))
    assert (classifier.image_size, classifier.has_masks, classifier.targets.shape) == (SIZE, False, (20, 1))


def test_duplicates_are_in_no_split(data: Dataset) -> None:
    rows = np.concatenate([data.rows(split) for split in ("train", "validation", "test")])
    assert sorted(rows) == [k for k in range(20) if k not in (3, 13)]


def test_of_a_split_as_many_pictures_are_used_as_replicas_can_share_evenly(data: Dataset) -> None:
    assert data.rows("train").tolist() == [1, 2, 5, 6, 7, 9, 11, 12, 15, 16, 17, 19]
    assert replace(data, replicas=5).rows("train").tolist() == [1, 2, 5, 6, 7, 9, 11, 12, 15, 16]


@pytest.mark.parametrize("name", ["images", "targets"])
def test_an_array_gives_the_rows_that_are_asked_for_as_copies(name: str) -> None:
    array, whole = getattr(load_dataset("segmenter"), name), np.load(f"data/prepared/segmenter/{name}.npy")
    assert (len(array), array.shape) == (20, whole.shape)
    for rows in ([3, 17, 3], [0], []):
        np.testing.assert_array_equal(array[np.array(rows, int)], whole[rows])
    array[np.array([0])][:] = 99
    np.testing.assert_array_equal(array[np.array([0])], whole[[0]])


def test_a_row_that_is_not_there_is_an_error_not_what_memory_holds(data: Dataset) -> None:
    with pytest.raises(EOFError, match="no row 20"):
        data.images[np.array([20])]


def test_arrays_stay_on_disk() -> None:
    np.save("data/prepared/classifier/images.npy", np.zeros((1000, 100, 100, 3), np.uint8))
    array = PackedArray(Path("data/prepared/classifier/images.npy"))
    before = psutil.Process().memory_info().rss
    for start in range(0, 1000, 10):
        array[np.arange(start, start + 10)]
    assert psutil.Process().memory_info().rss - before < 10e6, "of 30e6 that were read"


def test_names_that_look_like_missing_values_stay_names() -> None:
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


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_with_the_command_that_makes_it(task: str, name: str) -> None:
    Path("data/prepared", task, name).unlink()
    assert name in load_error(task)


class OnLoad:
    """What makes a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("mark"),)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["empty", "other bytes", "an archive", "a pickle", "cut off", "other numbers"])
def test_a_broken_file_is_one_line_with_the_command_that_makes_it(name: str, damage: str) -> None:
    path = Path("data/prepared/segmenter", name)
    content, other = path.read_bytes(), Path("other.npy")
    np.savez("other.npz", np.zeros((20, SIZE, SIZE), np.uint8))
    np.save("pickle.npy", np.array([OnLoad()]))
    np.save(other, np.zeros((20, SIZE, SIZE)))
    path.write_bytes(
        {
            "empty": b"",
            "other bytes": b"\xff\xfe\x00 text\n",
            "an archive": Path("other.npz").read_bytes(),
            "a pickle": Path("pickle.npy").read_bytes(),
            "cut off": content[:-1] if name.endswith("npy") else content[:100],
            "other numbers": other.read_bytes(),
        }[damage]
    )
    load_error("segmenter")
    assert not Path("mark").exists()


@pytest.mark.parametrize("name", FILES)
def test_files_of_another_number_of_pictures_are_counted(name: str) -> None:
    path = Path("data/prepared/segmenter", name)
    if name.endswith("npy"):
        np.save(path, np.load(path)[:7])
    else:
        path.write_text("".join(path.read_text().splitlines(keepends=True)[: 1 + 7]))
    found = {file: 7 if file == name else 20 for file in FILES}
    counted = (
        f"{found['samples.csv']} rows in samples.csv, {found['images.npy']} in images.npy, {found['targets.npy']} in"
    )
    assert counted in load_error("segmenter")


def test_a_split_that_is_too_small_for_the_replicas_is_an_error() -> None:
    error = "^data/prepared/classifier: 2 validation pictures; allowed: at least 3, one for each replica$"
    with pytest.raises(InputError, match=error):
        load_dataset("classifier", replicas=3)
