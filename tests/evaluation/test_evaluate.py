"""How each task is evaluated: Keras models that read their answer off the picture, metrics by hand.

Every picture has a colour of its own, by which it is found again in the picture grids.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.data.dataset import Dataset
from pipeline.evaluation import classifier as labelling
from pipeline.evaluation import scoring
from pipeline.evaluation import segmenter as segmenting
from pipeline.params import Evaluate
from pipeline.training.checkpoint import load_checkpoint
from tests.helpers.colourmodels import RED, write_classifier, write_segmenter

# stem, split, truth, prediction: 2 x 2 pixels each. Per picture, the mean IoU on test is 5/9, 1 and 5/18.
MASKS = [
    ("train_1", "train", [2, 2, 2, 2], [0, 0, 0, 0]),
    ("half_1", "test", [0, 1, 1, 2], [0, 1, 1, 1]),
    ("duplicate_1", "duplicate", [2, 2, 2, 2], [0, 0, 0, 0]),
    ("right_1", "test", [1, 1, 1, 0], [1, 1, 1, 0]),
    ("validation_1", "validation", [2, 2, 2, 2], [0, 0, 0, 0]),
    ("wrong_1", "test", [0, 0, 0, 1], [0, 2, 1, 1]),
]

# stem, split, species, probability of a dog
LABELS = [
    ("Train_1", "train", "cat", 0.75),
    ("pug_1", "test", "dog", 0.875),
    ("pug_2", "test", "dog", 0.25),  # wrong
    ("boxer_1", "test", "dog", 0.5),  # on the threshold: a dog
    ("Duplicate_1", "duplicate", "dog", 0.0),
    ("Birman_1", "test", "cat", 0.125),
    ("Birman_2", "test", "cat", 0.984375),  # wrong, and most certain
    ("Validation_1", "validation", "dog", 0.0),
    ("Sphynx_1", "test", "cat", 0.9375),  # wrong
    ("boxer_2", "test", "dog", 0.9375),  # ties with Sphynx_1
]


def mark(row: int) -> tuple[int, int]:
    """Green and blue of the picture in a row; red holds the model's answer."""
    return 10 + row, 200


def samples(rows: list[tuple], species: list[str]) -> pd.DataFrame:
    stems, splits = [row[0] for row in rows], [row[1] for row in rows]
    breeds = [stem.rsplit("_", 1)[0] for stem in stems]
    return pd.DataFrame({"stem": stems, "species": species, "breed": breeds, "split": splits})


def pictures(red: np.ndarray) -> np.ndarray:
    """(pictures, size, size) -> (pictures, size, size, 3)."""
    green, blue = np.array([mark(row) for row in range(len(red))]).T[:, :, None, None] + 0 * red
    return np.stack([red, green, blue], -1).astype(np.uint8)


class Evaluated(NamedTuple):
    """What an evaluation found, the folder of its tables and pictures, and the same evaluation into another folder."""

    metrics: dict[str, float]
    folder: Path
    again: Callable[[Path], dict[str, float]]


def evaluated(how: ModuleType, checkpoint: Path, data: Dataset, grid_pictures: int) -> Evaluated:
    params = Evaluate(bootstrap_samples=100, grid_pictures=grid_pictures, seed=1)
    evaluate, folder = partial(how.evaluate, load_checkpoint(checkpoint), data, params), checkpoint.parent / "plots"
    folder.mkdir()
    return Evaluated(evaluate(folder), folder, evaluate)


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    truth, predicted = (np.reshape([row[k] for row in MASKS], (-1, 2, 2)) for k in (2, 3))
    shown = pictures(np.array(RED)[predicted])
    data = Dataset(samples(MASKS, ["dog"] * len(MASKS)), shown, truth.astype(np.uint8))
    return evaluated(segmenting, write_segmenter(tmp_path_factory.mktemp("masks") / "segmenter.keras"), data, 2)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    red = np.array([256 * row[3] for row in LABELS])[:, None, None] * np.ones((4, 4))
    species = [row[2] for row in LABELS]
    targets = np.array([[name == "dog"] for name in species], np.uint8)
    data = Dataset(samples(LABELS, species), pictures(red), targets)
    return evaluated(labelling, write_classifier(tmp_path_factory.mktemp("labels") / "classifier.keras"), data, 4)


def pictures_in(path: Path, candidates: range, axis: int) -> list[int]:
    """Rows of the pictures that a grid shows, from left to right (axis 1) or from top to bottom (axis 0)."""
    with Image.open(path) as grid:
        pixels = np.asarray(grid.convert("RGB"))
    places = {row: np.argwhere((pixels[..., 1:] == mark(row)).all(-1))[:, axis] for row in candidates}
    return sorted((row for row in candidates if len(places[row])), key=lambda row: places[row].min())


def assert_headline(result: dict[str, float], expected: dict[str, float], others: dict[str, float]) -> None:
    """The metrics are these, the expected ones with intervals."""
    assert {name: result[name] for name in expected | others} == pytest.approx(expected | others)
    assert set(result) == {*expected, *others, *(f"{name}_{end}" for name in expected for end in ("low", "high"))}
    for name, value in expected.items():
        assert 0 <= result[f"{name}_low"] < value < result[f"{name}_high"] <= 1


def test_segmenter_metrics_come_from_one_confusion_matrix_over_all_test_pixels(masks: Evaluated) -> None:
    # Truth by row: [[3, 1, 1], [0, 6, 0], [0, 1, 0]]
    others = {"iou_foreground": 3 / 5, "iou_background": 6 / 8, "iou_contour": 0}
    others |= {"dice_foreground": 6 / 8, "dice_background": 12 / 14, "dice_contour": 0}
    assert_headline(masks.metrics, {"mean_iou": 0.45, "pixel_accuracy": 9 / 12}, others)
    per_class = pd.read_csv(masks.folder / "classes.csv")
    assert per_class["class"].tolist() == ["foreground", "background", "contour"]
    np.testing.assert_allclose(per_class[["iou", "dice"]], [[3 / 5, 6 / 8], [6 / 8, 12 / 14], [0, 0]])


def test_the_worst_masks_are_shown_from_the_lowest_mean_iou_up(masks: Evaluated) -> None:
    assert {path.name for path in masks.folder.glob("*.png")} == {"confusion.png", "samples.png", "worst.png"}
    assert pictures_in(masks.folder / "worst.png", range(len(MASKS)), axis=0) == [5, 1]


def test_classifier_metrics_on_the_test_split(labels: Evaluated) -> None:
    # Of 3 cats 1 is right, of 4 dogs 3; of the 12 pairs of a cat and a dog 4 are in the right order and one is a tie.
    balanced, macro = (1 / 3 + 3 / 4) / 2, (2 / 5 + 6 / 9) / 2
    expected = {"accuracy": 4 / 7, "balanced_accuracy": balanced, "macro_f1": macro, "roc_auc": 4.5 / 12}
    assert_headline(labels.metrics, expected, {})


def test_classifier_tables(labels: Evaluated) -> None:
    folder = labels.folder
    expected = """stem,breed,actual,predicted,dog_probability
pug_1,pug,dog,dog,0.875
pug_2,pug,dog,cat,0.25
boxer_1,boxer,dog,dog,0.5
Birman_1,Birman,cat,cat,0.125
Birman_2,Birman,cat,dog,0.984375
Sphynx_1,Sphynx,cat,dog,0.9375
boxer_2,boxer,dog,dog,0.9375
"""
    assert (folder / "predictions.csv").read_text() == expected
    breeds = "breed,accuracy,pictures\nBirman,0.5,2\nSphynx,0.0,1\nboxer,1.0,2\npug,0.5,2\n"
    assert (folder / "breeds.csv").read_text() == breeds
    roc = pd.read_csv(folder / "roc.csv")
    np.testing.assert_allclose(roc["false_positive_rate"] * 3, [0, 1, 2, 2, 2, 2, 3])
    np.testing.assert_allclose(roc["true_positive_rate"] * 4, [0, 0, 1, 2, 3, 4, 4])
    # In the last tenth are Birman_2, Sphynx_1 and boxer_2, of which one is a dog.
    expected = [[0.125, 0, 1], [0.25, 1, 1], [0.5, 1, 1], [0.875, 1, 1], [(0.984375 + 2 * 0.9375) / 3, 1 / 3, 3]]
    np.testing.assert_allclose(pd.read_csv(folder / "calibration.csv"), expected, rtol=1e-6)


def test_a_title_gives_the_answer_with_its_own_probability_and_says_if_it_is_wrong(labels: Evaluated) -> None:
    table = pd.read_csv(labels.folder / "predictions.csv")
    assert [labelling.title(row) for row in table[:4].itertuples()] == [
        "pug_1\n✓ dog 0.875",
        "pug_2\n✗ cat 0.750, is a dog",
        "boxer_1\n✓ dog 0.500",
        "Birman_1\n✓ cat 0.875",
    ]


def test_grids_show_mistakes_from_the_most_certain_down_and_a_sample_of_the_test_pictures(labels: Evaluated) -> None:
    folder = labels.folder
    charts = {"breeds.png", "calibration.png", "confusion.png", "roc.png"}
    assert {path.name for path in folder.glob("*.png")} == charts | {"samples.png", "mistakes.png"}
    assert pictures_in(folder / "mistakes.png", range(len(LABELS)), axis=1) == [6, 8, 2]
    shown = pictures_in(folder / "samples.png", range(len(LABELS)), axis=1)
    assert len(shown) == 4
    assert set(shown) <= {1, 2, 3, 5, 6, 8, 9}


def test_metrics_and_files_depend_neither_on_the_batch_nor_on_the_time(masks, labels, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(scoring, "BATCH", 2)  # a remainder in both tasks
    for case in (masks, labels):
        folder = tmp_path / case.folder.parent.name
        folder.mkdir()
        assert case.again(folder) == case.metrics
        contents = [{path.name: path.read_bytes() for path in made.iterdir()} for made in (case.folder, folder)]
        assert contents[0] == contents[1]
