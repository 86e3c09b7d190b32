"""The stages preprocess_TASK, end to end on the hand-built dataset."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.outputs import read_metrics
from pipeline.preprocess import preprocess
from pipeline.tasks import TASKS
from tests.helpers.disks import small_disk
from tests.helpers.petsbuilder import CATS, DOGS, TEST, TRAINVAL, colour, encode, mask_class, picture, write_dataset


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def samples(task: str = "classifier") -> pd.DataFrame:
    return pd.read_csv(f"data/prepared/{task}/samples.csv")


def stems_of(split: str, task: str = "classifier") -> set[str]:
    frame = samples(task)
    return set(frame["stem"][frame["split"] == split])


def rejects(task: str = "classifier") -> dict[str, str]:
    return pd.read_csv(f"data/prepared/rejects_{task}.csv").set_index("stem")["reason"].to_dict()


def outputs() -> dict[str, bytes]:
    folders = (Path("data/prepared"), Path("data/metrics"))
    return {str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def preprocess_dataset(**changes) -> None:
    write_dataset(**changes)
    for task in TASKS:
        preprocess(task)


def preprocess_error(task: str = "classifier") -> str:
    with pytest.raises(InputError) as caught:
        preprocess(task)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("order", [1, -1], ids=["archive sorted", "archive reversed"])
def test_row_k_of_samples_describes_row_k_of_the_arrays(order):
    preprocess_dataset(order=order)
    for task, size in (("classifier", 24), ("segmenter", 16)):
        images = np.load(f"data/prepared/{task}/images.npy")
        assert (images.dtype, images.shape) == (np.uint8, (23, size, size, 3))
        assert list(samples(task)["stem"]) == sorted(TRAINVAL + TEST)[::order]
        for stem, image in zip(samples(task)["stem"], images, strict=True):
            assert (image == colour(stem)).all()
    masks, labels = (np.load(f"data/prepared/{task}/targets.npy") for task in ("segmenter", "classifier"))
    assert (masks.dtype, masks.shape, labels.dtype, labels.shape) == (np.uint8, (23, 16, 16), np.uint8, (23, 1))
    for stem, mask in zip(samples("segmenter")["stem"], masks, strict=True):
        assert (mask == mask_class(stem)).all()
    assert labels[:, 0].tolist() == [int(species == "dog") for species in samples()["species"]]


def test_the_official_test_split_stays_and_the_seed_alone_draws_the_fraction_of_each_breed_for_validation():
    preprocess_dataset()
    rows = samples().set_index("stem")[["species", "breed", "split"]]
    assert rows.loc["american_bulldog_102"].tolist() == ["dog", "american_bulldog", "test"]
    assert stems_of("test") == set(TEST)
    validation = stems_of("validation")
    assert len(validation & set(CATS)) == len(validation & set(DOGS)) == 2  # 0.2 of 10
    assert stems_of("train") == set(TRAINVAL) - validation
    assert stems_of("validation", "segmenter") == validation
    for seed, trainval, order in ((7, TRAINVAL[::-1], -1), (8, TRAINVAL, 1)):
        preprocess_dataset(trainval=trainval, order=order, seed=seed)
        assert (stems_of("validation") == validation) == (seed == 7)


def test_unreadable_and_absent_files_are_rejected_with_the_reason_but_the_classifier_needs_no_trimap():
    bad = {"Abyssinian_3": b"text", "american_bulldog_101": None}
    trimaps = {"Abyssinian_4": encode(Image.new("L", (1, 1))), "Abyssinian_101": None}
    preprocess_dataset(pictures=bad, trimaps=trimaps, max_reject_fraction=0.2)
    assert rejects() == {"Abyssinian_3": "cannot identify image file", "american_bulldog_101": "not in images.tar.gz"}
    assert rejects("segmenter") == rejects() | {"Abyssinian_4": "trimap: 1 x 1 pixels, its picture 4 x 3 pixels"}
    for task, without in (("classifier", set()), ("segmenter", {"Abyssinian_101"})):
        kept = {*TRAINVAL, *TEST} - rejects(task).keys() - without
        assert list(samples(task)["stem"]) == sorted(kept)
        assert len(np.load(f"data/prepared/{task}/images.npy")) == len(kept)


def test_more_rejects_than_the_fraction_are_an_error_that_names_the_key_and_leaves_what_was_prepared():
    bad = {"Abyssinian_3": b"text", "Abyssinian_4": b"text"}
    preprocess_dataset(pictures={"Abyssinian_3": b"text"}, max_reject_fraction=1 / 23)  # no more than allowed
    before = samples()
    write_dataset(pictures=bad, max_reject_fraction=0.05)
    assert preprocess_error() == (
        "2 of 23 pictures rejected, the first Abyssinian_3.jpg: cannot identify image file; "
        "allowed: 0.05 of them (preprocess.max_reject_fraction)"
    )
    assert samples().equals(before)
    assert rejects() == dict.fromkeys(bad, "cannot identify image file")
    assert not list(Path("data").rglob("draft*"))


def test_a_copy_of_a_later_splits_picture_is_kept_out_of_training_and_the_metrics_count_what_is_used():
    preprocess_dataset()
    first, second = sorted(stems_of("train") & set(CATS))[:2]
    unreadable, validation = min(stems_of("train") & set(DOGS)), min(stems_of("validation"))
    copies = {first: "american_bulldog_102", second: validation, "american_bulldog_101": "american_bulldog_102"}
    pictures = {stem: picture(original) for stem, original in copies.items()} | {unreadable: b"text"}
    preprocess_dataset(pictures=pictures, max_reject_fraction=0.1)
    assert stems_of("duplicate") == stems_of("duplicate", "segmenter") == {first, second}
    assert stems_of("test") == set(TEST), "copies within one split both stay"
    assert validation in stems_of("validation")
    assert len(samples()) == len(np.load("data/prepared/classifier/images.npy")) == 22  # the rows still match
    assert read_metrics(Path("data/metrics/counts_classifier.json").read_text()) == {
        "pictures": {"test": 3, "train": 13, "validation": 4},  # of 3, 16 and 4: two duplicates, a reject
        "species": {"cat": 9, "dog": 11},  # of 11 and 12
        "duplicates": 2,
        "rejects": 1,
    }


def test_the_outputs_are_the_same_bytes_on_every_run_and_any_number_of_cores(monkeypatch):
    slow = encode(Image.new("RGB", (1500, 1500), "red"))  # the first to start, the last to be ready
    pictures = {"Abyssinian_1": slow, "Abyssinian_2": b"text", "Abyssinian_3": None}
    write_dataset(pictures=pictures, trimaps={"Abyssinian_1": None}, max_reject_fraction=0.2)
    found = []
    for cores in (1, 8):
        monkeypatch.setattr("pipeline.preprocess.cpu_count", lambda cores=cores: cores)
        for task in TASKS:
            preprocess(task)
        found.append(outputs())
    assert len(found[0]) == 10  # two arrays, samples.csv, rejects and metrics for each task
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("split", "task", "missing", "changes"),
    [
        ("test", "segmenter", "pet", {"trimaps": dict.fromkeys(TEST)}),
        ("train", "classifier", "cat", {"trainval": []}),
        ("validation", "classifier", "cat", {"validation_fraction": 0.01}),
        ("train", "classifier", "dog", {"trainval": CATS}),
        ("test", "classifier", "cat", {"pictures": dict.fromkeys(TEST), "max_reject_fraction": 1.0}),
    ],
)
def test_a_model_with_nothing_to_learn_or_to_be_measured_on_is_an_error(split, task, missing, changes):
    write_dataset(**changes)
    remedy = "the lists name the test pictures, preprocess.validation_fraction divides the others"
    assert preprocess_error(task) == f"no {missing} in the {split} split of the {task}; allowed: at least one; {remedy}"
    assert not Path(f"data/prepared/{task}").exists()


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_what_is_not_whole_takes_no_room():
    write_dataset()
    with small_disk(Path("data/prepared"), 4):
        says = "No space left on device; make room and run again, nothing is lost"
        assert preprocess_error() == f"data/prepared/classifier: {says}"
        assert not list(Path("data/prepared").iterdir())
