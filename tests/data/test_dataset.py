"""What preprocess wrote, opened: whole or one clear line. Every picture shows its own row number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.data.dataset import PackedArray, load_dataset
from pipeline.errors import InputError
from tests.data.rows import SIZE, write_rows

TASKS = ["segmenter", "classifier"]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for task in TASKS:
        write_rows(task)


def test_a_dataset_knows_names_sizes_and_splits_without_duplicates_which_replicas_share_evenly() -> None:
    path = Path("data/prepared/classifier/samples.csv")
    path.write_text(path.read_text().replace("breed_0,cat,breed", "null,cat,NA"))
    segmenter, data = (load_dataset(task) for task in TASKS)
    assert (segmenter.image_size, segmenter.has_masks, segmenter.targets.shape) == (SIZE, True, (20, SIZE, SIZE))
    assert (data.image_size, data.has_masks, data.targets.shape) == (SIZE, False, (20, 1))
    assert data.samples.iloc[0][["stem", "breed"]].tolist() == ["null", "NA"], "which look like missing values"
    train = [1, 2, 5, 6, 7, 9, 11, 12, 15, 16, 17, 19]
    assert [data.rows(split).tolist() for split in ("train", "validation", "test")] == [train, [4, 14], [0, 8, 10, 18]]
    assert replace(data, replicas=5).rows("train").tolist() == train[:10]
    error = "^data/prepared/classifier: too few validation pictures; allowed: at least 3, one for each replica$"
    with pytest.raises(InputError, match=error):
        load_dataset("classifier", replicas=3)


def test_arrays_stay_on_disk() -> None:
    path = Path("data/prepared/classifier/images.npy")
    np.save(path, np.zeros((1000, 100, 100, 3), np.uint8))
    array, before = PackedArray(path), psutil.Process().memory_info().rss
    for start in range(0, 1000, 10):
        array[np.arange(start, start + 10)]
    assert psutil.Process().memory_info().rss - before < 10e6, "of 30e6 that were read"


BROKEN = [("samples.csv", None), ("samples.csv", 0), ("images.npy", None), ("images.npy", 0), ("targets.npy", -1)]


@pytest.mark.parametrize(("name", "left"), BROKEN)
def test_a_missing_or_cut_file_is_one_line_with_the_command_that_makes_it(name: str, left: int | None) -> None:
    path = Path("data/prepared/segmenter", name)
    path.unlink() if left is None else path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError, match=r"^data/prepared/segmenter: .*; `dvc repro preprocess_segmenter` makes it$"):
        load_dataset("segmenter")
