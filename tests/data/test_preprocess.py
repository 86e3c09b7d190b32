"""The stages preprocess_TASK, end to end on the hand-built dataset."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.preprocess import preprocess
from pipeline.tasks import TASKS
from tests.helpers.disks import make_room, small_disk
from tests.helpers.petsbuilder import (
    CATS,
    DOGS,
    TEST,
    TRAINVAL,
    colour,
    encode,
    mask_class,
    picture,
    trimap,
    write_dataset,
)


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


def metrics(task: str = "classifier") -> dict:
    return json.loads(Path(f"data/metrics/preprocess_{task}.json").read_text())


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


def test_the_official_test_split_stays_and_validation_is_the_fraction_of_each_breed():
    preprocess_dataset()
    rows = samples().set_index("stem")[["species", "breed", "split"]]
    assert rows.loc["american_bulldog_102"].tolist() == ["dog", "american_bulldog", "test"]
    assert stems_of("test") == set(TEST)
    validation = stems_of("validation")
    assert len(validation & set(CATS)) == len(validation & set(DOGS)) == 2  # 0.2 of 10
    assert stems_of("train") == set(TRAINVAL) - validation
    assert stems_of("validation", "segmenter") == validation


def test_the_draw_follows_the_seed_and_not_the_order_of_the_lists_or_the_archive():
    draws = []
    for seed, trainval, order in ((1, TRAINVAL, 1), (1, TRAINVAL[::-1], -1), (2, TRAINVAL, 1)):
        write_dataset(trainval=trainval, order=order, seed=seed)
        preprocess("classifier")
        draws.append(stems_of("validation"))
    assert draws[0] == draws[1] != draws[2]


def test_a_picture_without_a_trimap_is_for_the_classifier_only():
    preprocess_dataset(trimaps={"Abyssinian_101": None})
    assert stems_of("test") - stems_of("test", "segmenter") == {"Abyssinian_101"}
    assert [len(np.load(f"data/prepared/{task}/images.npy")) for task in TASKS] == [22, 23]
    assert rejects("segmenter") == {}


def test_unreadable_and_absent_pictures_and_trimaps_go_to_the_rejects_with_the_reason():
    bad = {"Abyssinian_3": b"text", "american_bulldog_101": None}
    preprocess_dataset(pictures=bad, trimaps={"Abyssinian_4": trimap([[9]])}, max_reject_fraction=0.2)
    assert rejects() == {"Abyssinian_3": "cannot identify image file", "american_bulldog_101": "not in images.tar.gz"}
    assert rejects("segmenter") == rejects() | {"Abyssinian_4": "trimap: 1 x 1 pixels, its picture 4 x 3 pixels"}
    for task in TASKS:
        kept = sorted({*TRAINVAL, *TEST} - rejects(task).keys())
        assert sorted(samples(task)["stem"]) == kept
        assert len(np.load(f"data/prepared/{task}/images.npy")) == len(kept)


def test_more_rejects_than_the_fraction_are_an_error_that_names_the_key():
    bad = {"Abyssinian_3": b"text", "Abyssinian_4": b"text"}
    preprocess_dataset(pictures=bad, max_reject_fraction=2 / 23)  # no more than allowed
    write_dataset(pictures=bad, max_reject_fraction=0.05)
    assert preprocess_error() == (
        "2 of 23 pictures rejected, the first Abyssinian_3.jpg: cannot identify image file; "
        "allowed: 0.05 of them (preprocess.max_reject_fraction)"
    )


def test_a_training_picture_that_is_also_a_test_or_validation_picture_is_kept_out_of_training():
    preprocess_dataset()
    first, second = sorted(stems_of("train") & set(CATS))[:2]
    validation = min(stems_of("validation"))
    preprocess_dataset(pictures={first: picture("american_bulldog_102"), second: picture(validation)})
    assert stems_of("duplicate") == stems_of("duplicate", "segmenter") == {first, second}
    assert stems_of("test") == set(TEST)
    assert validation in stems_of("validation")
    assert len(samples()) == len(np.load("data/prepared/classifier/images.npy")) == 23  # the rows still match


def test_copies_within_one_split_both_stay():
    preprocess_dataset(pictures={"american_bulldog_101": picture("american_bulldog_102")})
    assert stems_of("test") == set(TEST)
    assert metrics()["duplicates"] == 0


def test_the_metrics_count_what_is_used():
    preprocess_dataset()
    train_cat = min(stems_of("train") & set(CATS))
    preprocess_dataset(
        pictures={train_cat: picture("Abyssinian_101"), "american_bulldog_101": b"text"},
        max_reject_fraction=0.1,
    )
    assert metrics("classifier") == {
        "pictures": {"test": 2, "train": 15, "validation": 4},  # of 3, 16 and 4: a reject, a duplicate
        "species": {"cat": 10, "dog": 11},  # of 11 and 12
        "duplicates": 1,
        "rejects": 1,
    }


def test_the_outputs_are_the_same_bytes_on_every_run_and_any_number_of_cores(monkeypatch):
    slow = encode(Image.new("RGB", (1500, 1500), "red"))  # the first to start, the last to be ready
    write_dataset(
        pictures={"Abyssinian_1": slow, "Abyssinian_2": b"text", "Abyssinian_3": None},
        trimaps={"Abyssinian_1": None},
        max_reject_fraction=0.2,
    )
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
        ("train", "segmenter", "pet", {"trimaps": dict.fromkeys(TRAINVAL)}),
        ("train", "classifier", "cat", {"trainval": []}),
        ("validation", "classifier", "cat", {"validation_fraction": 0.01}),
        ("train", "classifier", "dog", {"trainval": CATS}),
        ("validation", "classifier", "dog", {"trainval": [*CATS, "american_bulldog_1"]}),
        ("test", "classifier", "cat", {"pictures": {"Abyssinian_101": None}, "max_reject_fraction": 0.1}),
        ("test", "classifier", "cat", {"pictures": dict.fromkeys(TEST), "max_reject_fraction": 1.0}),
    ],
)
def test_a_model_with_nothing_to_learn_or_to_be_measured_on_is_an_error(split, task, missing, changes):
    write_dataset(**changes)
    remedy = "the lists name the test pictures, preprocess.validation_fraction divides the others"
    line = f"no {missing} in the {split} split of the {task}; allowed: at least one; {remedy}"
    assert preprocess_error(task) == line
    assert not Path(f"data/prepared/{task}").exists()


def test_an_error_leaves_what_an_earlier_run_prepared_and_says_what_was_rejected():
    preprocess_dataset()
    before = samples()
    write_dataset(pictures={"Abyssinian_3": b"text"})
    preprocess_error()
    assert samples().equals(before)
    assert rejects() == {"Abyssinian_3": "cannot identify image file"}
    assert not list(Path("data").rglob("draft*"))


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_what_runs_after_room_was_made_ends_with_the_same_bytes():
    write_dataset()
    with small_disk(Path("data/prepared"), 4):
        says = "No space left on device; make room and run again, nothing is lost"
        assert preprocess_error() == f"data/prepared/classifier: {says}"
        make_room(Path("data/prepared"))
        preprocess("classifier")
        found = outputs()
    preprocess("classifier")
    assert outputs() == found
