"""How each task is evaluated: Keras models that read their answer off the picture, metrics by hand.

Every picture has a colour of its own, by which it is found again in the picture grids.
"""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from PIL import Image

from pipeline.data.dataset import Dataset
from pipeline.evaluation import classifier as labelling
from pipeline.evaluation import scoring
from pipeline.evaluation import segmenter as segmenting
from pipeline.params import Evaluate

PARAMS = Evaluate(bootstrap_samples=100, grid_pictures=2, seed=1)

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
    ("Train_1", "train", "cat", 1.0),
    ("pug_1", "test", "dog", 0.875),
    ("pug_2", "test", "dog", 0.25),  # wrong
    ("boxer_1", "test", "dog", 0.5),  # on the threshold: a dog
    ("Duplicate_1", "duplicate", "dog", 0.0),
    ("Birman_1", "test", "cat", 0.125),
    ("Birman_2", "test", "cat", 1.0),  # wrong, and most certain
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


@pytest.fixture(scope="module")
def masks() -> Dataset:
    truth, predicted = (np.reshape([row[k] for row in MASKS], (-1, 2, 2)) for k in (2, 3))
    return Dataset(samples(MASKS, ["dog"] * len(MASKS)), pictures(predicted), truth.astype(np.uint8))


@pytest.fixture(scope="module")
def labels() -> Dataset:
    red = np.array([128 * row[3] for row in LABELS])[:, None, None] * np.ones((4, 4))
    species = [row[2] for row in LABELS]
    targets = np.array([[name == "dog"] for name in species], np.uint8)
    return Dataset(samples(LABELS, species), pictures(red), targets)


@pytest.fixture(scope="module")
def segmenter() -> keras.Model:
    """Predicts class k where the red channel is k: red**2 - (red - k)**2 is largest there."""
    model = keras.Sequential([keras.Input((2, 2, 3)), layers.Conv2D(3, 1)])
    model.set_weights([np.array([[[[0, 2, 4], [0, 0, 0], [0, 0, 0]]]]), np.array([0, -1, -4])])
    return model


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    """The probability of a dog is the mean of the red channel / 128."""
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.GlobalAveragePooling2D(), layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[1 / 128], [0], [0]])])
    return model


def pictures_in(path: Path, candidates: range, axis: int) -> list[int]:
    """Rows of the pictures that a grid shows, from left to right (axis 1) or from top to bottom (axis 0)."""
    with Image.open(path) as grid:
        pixels = np.asarray(grid.convert("RGB"))
    places = {row: np.argwhere((pixels[..., 1:] == mark(row)).all(-1))[:, axis] for row in candidates}
    return sorted((row for row in candidates if len(places[row])), key=lambda row: places[row].min())


def test_segmenter_metrics_come_from_one_confusion_matrix_over_all_test_pixels(segmenter, masks, tmp_path):
    result = segmenting.evaluate(segmenter, masks, PARAMS, tmp_path)
    # Truth by row: [[3, 1, 1], [0, 6, 0], [0, 1, 0]]
    expected = {"mean_iou": 0.45, "pixel_accuracy": 9 / 12}
    expected |= {"iou_foreground": 3 / 5, "iou_background": 6 / 8, "iou_contour": 0}
    expected |= {"dice_foreground": 6 / 8, "dice_background": 12 / 14, "dice_contour": 0}
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    intervals = {f"{name}_{end}" for name in ("mean_iou", "pixel_accuracy") for end in ("low", "high")}
    assert set(result) == set(expected) | intervals
    for name in ("mean_iou", "pixel_accuracy"):
        assert 0 <= result[f"{name}_low"] < result[name] < result[f"{name}_high"] <= 1


def test_segmenter_plots(segmenter, masks, tmp_path):
    segmenting.evaluate(segmenter, masks, PARAMS, tmp_path)
    per_class = pd.read_csv(tmp_path / "classes.csv")
    assert per_class["class"].tolist() == ["foreground", "background", "contour"]
    np.testing.assert_allclose(per_class[["iou", "dice"]], [[3 / 5, 6 / 8], [6 / 8, 12 / 14], [0, 0]])
    assert_pictures(tmp_path, {"confusion.png", "samples.png", "worst.png"})


def test_the_worst_masks_are_shown_from_the_lowest_mean_iou_up(segmenter, masks, tmp_path):
    segmenting.evaluate(segmenter, masks, PARAMS, tmp_path)
    assert pictures_in(tmp_path / "worst.png", range(len(MASKS)), axis=0) == [5, 1]


def test_a_perfect_segmenter_scores_one_with_certainty(segmenter, masks, tmp_path):
    easy = Dataset(
        masks.samples.assign(split=["test" if k == 3 else "train" for k in range(6)]), masks.images, masks.targets
    )
    result = segmenting.evaluate(segmenter, easy, PARAMS, tmp_path)
    assert [result[f"{name}{end}"] for name in ("mean_iou", "pixel_accuracy") for end in ("", "_low", "_high")] == [
        1
    ] * 6


def test_classifier_metrics_on_the_test_split(classifier, labels, tmp_path):
    result = labelling.evaluate(classifier, labels, PARAMS, tmp_path)
    # Of 3 cats 1 is right, of 4 dogs 3; of the 12 pairs of a cat and a dog 4 are in the right order and one is a tie.
    expected = {
        "accuracy": 4 / 7,
        "balanced_accuracy": (1 / 3 + 3 / 4) / 2,
        "macro_f1": (2 / 5 + 6 / 9) / 2,
        "roc_auc": 4.5 / 12,
    }
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    assert set(result) == set(expected) | {f"{name}_{end}" for name in expected for end in ("low", "high")}
    for name, value in expected.items():
        assert 0 <= result[f"{name}_low"] < value < result[f"{name}_high"] <= 1


def test_classifier_predictions(classifier, labels, tmp_path):
    labelling.evaluate(classifier, labels, PARAMS, tmp_path)
    expected = """stem,breed,actual,predicted,dog_probability
pug_1,pug,dog,dog,0.875
pug_2,pug,dog,cat,0.25
boxer_1,boxer,dog,dog,0.5
Birman_1,Birman,cat,cat,0.125
Birman_2,Birman,cat,dog,1.0
Sphynx_1,Sphynx,cat,dog,0.9375
boxer_2,boxer,dog,dog,0.9375
"""
    assert (tmp_path / "predictions.csv").read_text() == expected


def test_classifier_plots(classifier, labels, tmp_path):
    labelling.evaluate(classifier, labels, PARAMS, tmp_path)
    breeds = pd.read_csv(tmp_path / "breeds.csv").set_index("breed")
    assert breeds["accuracy"].to_dict() == {"Birman": 0.5, "Sphynx": 0, "boxer": 1, "pug": 0.5}
    assert breeds["pictures"].to_dict() == {"Birman": 2, "Sphynx": 1, "boxer": 2, "pug": 2}
    roc = pd.read_csv(tmp_path / "roc.csv")
    np.testing.assert_allclose(roc["false_positive_rate"] * 3, [0, 1, 2, 2, 2, 2, 3])
    np.testing.assert_allclose(roc["true_positive_rate"] * 4, [0, 0, 1, 2, 3, 4, 4])
    assert_pictures(tmp_path, {"samples.png", "mistakes.png"})


def test_mistakes_are_shown_from_the_most_certain_down(classifier, labels, tmp_path):
    labelling.evaluate(classifier, labels, PARAMS.model_copy(update={"grid_pictures": 4}), tmp_path)
    assert pictures_in(tmp_path / "mistakes.png", range(len(LABELS)), axis=1) == [6, 8, 2]


def test_the_sample_grid_shows_as_many_different_test_pictures_as_asked_for(classifier, labels, tmp_path):
    labelling.evaluate(classifier, labels, PARAMS.model_copy(update={"grid_pictures": 4}), tmp_path)
    shown = pictures_in(tmp_path / "samples.png", range(len(LABELS)), axis=1)
    assert len(shown) == 4
    assert set(shown) <= {1, 2, 3, 5, 6, 8, 9}


@pytest.mark.parametrize("task", ["masks", "labels"])
def test_metrics_and_files_depend_neither_on_the_batch_nor_on_the_time(
    task, segmenter, classifier, masks, labels, tmp_path, monkeypatch
):
    def outcome(name: str) -> tuple[dict, dict]:
        folder = tmp_path / name
        folder.mkdir()
        if task == "masks":
            result = segmenting.evaluate(segmenter, masks, PARAMS, folder)
        else:
            result = labelling.evaluate(classifier, labels, PARAMS, folder)
        return result, {path.name: path.read_bytes() for path in folder.iterdir()}

    first = outcome("first")
    assert outcome("again") == first
    monkeypatch.setattr(scoring, "BATCH", 2)  # a remainder in both tasks
    assert outcome("in small batches") == first


def assert_pictures(folder: Path, names: set[str]) -> None:
    """The PNG files of a folder are these, and open."""
    assert {path.name for path in folder.glob("*.png")} == names
    for name in names:
        with Image.open(folder / name) as picture:
            picture.load()
            assert (picture.format, min(picture.size) > 100) == ("PNG", True)
