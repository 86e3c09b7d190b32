"""The picture grids and the confusion matrix, looked at by their colours."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation import figures

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def solid(*values: tuple[int, int, int] | int) -> np.ndarray:
    """A picture of 8 x 8 pixels for each colour, or a mask for each class."""
    return np.stack([np.full((8, 8, *np.shape(value)), value, np.uint8) for value in values])


def centre(path: Path, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Where a colour is, as shares of the figure from the left and from the top."""
    with Image.open(path) as figure:
        pixels = np.asarray(figure.convert("RGB"))
    rows, columns = np.nonzero((pixels == colour).all(-1))
    return columns.mean() / pixels.shape[1], rows.mean() / pixels.shape[0]


def test_a_mask_grid_shows_input_truth_and_prediction_from_left_to_right_a_row_per_picture(tmp_path: Path) -> None:
    path = tmp_path / "grid.png"
    figures.mask_grid(solid(RED, BLUE), solid(0, 1), solid(1, 2), ["first", "second"], path)
    foreground, background, contour = (centre(path, tuple(colour)) for colour in figures.COLOURS.tolist())
    first, second = centre(path, RED), centre(path, BLUE)
    assert first[0] == pytest.approx(second[0], abs=0.01) == pytest.approx(1 / 6, abs=0.05)
    assert foreground == pytest.approx((0.5, first[1]), abs=0.01)  # the truth of the first
    assert contour == pytest.approx((5 / 6, second[1]), abs=0.05)  # the prediction of the second
    assert first[1] < background[1] < second[1]  # the prediction of the first, the truth of the second


def test_a_picture_grid_shows_its_pictures_in_reading_order(tmp_path: Path) -> None:
    path = tmp_path / "grid.png"
    figures.picture_grid(solid(RED, GREEN, GREEN, GREEN, BLUE), list("abcde"), path)  # rows of four
    red, green, blue = (centre(path, colour) for colour in (RED, GREEN, BLUE))
    assert red[0] < green[0]
    assert (red[1], blue[0]) == pytest.approx((green[1], red[0]), abs=0.001)
    assert blue[1] > red[1]


@pytest.mark.parametrize(
    ("count", "titles", "row", "column"),
    [(0, [], 0, 0), (6, ["", "", "", "", "", "xx"], 1, 1)],
    ids=["of no pictures, which says so", "of white pictures"],
)
def test_the_title_of_a_picture_is_above_it_and_all_else_of_a_grid_is_white(tmp_path, count, titles, row, column):
    figures.picture_grid(np.full((count, 32, 32, 3), 255, np.uint8), titles, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as figure:
        pixels = np.asarray(figure.convert("L"))
    dark = np.argwhere(pixels < 100) / pixels.shape * (1 + (count > 4), 4)  # in cells, which are 40 pixels high:
    assert {*map(tuple, dark.astype(int).tolist())} == {(row, column)}
    assert (dark[:, 0] < row + 8 / 40).all(), "the upper 8 are for the title"


@pytest.mark.parametrize(
    ("counts", "dark"),
    [
        ([[9, 1], [1, 9]], [[True, False], [False, True]]),
        ([[0, 0], [5, 0]], [[False, False], [True, False]]),  # of the cats there is none, of the dogs none was right
    ],
)
def test_a_confusion_matrix_shows_shares_of_each_truth_by_row(tmp_path, counts, dark) -> None:
    figures.confusion_matrix(np.array(counts), ("cat", "dog"), tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as figure:
        pixels = np.asarray(figure.convert("RGB"), int)
    blue = (pixels[..., 2] > pixels[..., 0] + 40) & (pixels[..., 0] < 60)
    halves = [np.array_split(half, 2, axis=1) for half in np.array_split(blue, 2, axis=0)]
    assert [[bool(quarter.mean() > 0.4) for quarter in row] for row in halves] == dark
