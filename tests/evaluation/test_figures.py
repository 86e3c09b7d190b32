"""The picture grids and the charts, looked at by their colours."""

from pathlib import Path

import numpy as np
import pandas as pd
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


def test_a_mask_grid_shows_picture_truth_prediction_and_that_over_the_picture_below_a_legend(tmp_path: Path) -> None:
    path = tmp_path / "grid.png"
    figures.mask_grid(solid(RED, GREEN), solid(0, 1), solid(1, 2), [("first", ""), ("second", "")], path)
    with Image.open(path) as figure:
        pixels = np.asarray(figure.convert("RGB"), int)
    cells = pixels[24:].reshape(2, -1, *pixels.shape[1:])  # the legend has the upper 0.3 inches
    foreground, background, contour = figures.COLOURS.tolist()
    shown = [[foreground, background], [background, contour]]  # truth and prediction of each
    tinted = [RED, [(a + b) // 2 for a, b in zip(GREEN, contour, strict=True)]]  # background is left as it is
    for row, (picture, masks, over) in enumerate(zip((RED, GREEN), shown, tinted, strict=True)):
        middle = cells[row, 110, 96 + 192 * np.arange(4)]
        np.testing.assert_allclose(middle, [picture, *masks, over], atol=1)
    for colour in figures.COLOURS:
        assert (pixels[:24] == colour).all(-1).sum() > 50, "a patch of the legend"


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two rows of up to four: the answers to the first and the last picture are wrong."""
    path, colours = tmp_path / "grid.png", (RED, GREEN, GREEN, GREEN, BLUE)
    figures.picture_grid(solid(*colours), list("abcde"), np.array([False, True, True, True, False]), path)
    return path


def test_a_picture_grid_shows_its_pictures_in_reading_order(grid: Path) -> None:
    red, green, blue = (centre(grid, colour) for colour in (RED, GREEN, BLUE))
    assert red[0] < green[0]
    assert (red[1], blue[0]) == pytest.approx((green[1], red[0]), abs=0.001)
    assert blue[1] > red[1]


def test_a_frame_tells_a_right_answer_from_a_wrong_one(grid: Path) -> None:
    with Image.open(grid) as figure:
        pixels = np.asarray(figure.convert("RGB"))[24:]
    for colour, places in ((figures.VERMILLION, {(0, 0), (1, 0)}), (figures.BLUE, {(0, 1), (0, 2), (0, 3)})):
        found = np.argwhere((pixels == colour).all(-1)) / pixels.shape[:2] * (2, 4)
        assert {*map(tuple, found.astype(int).tolist())} == places


@pytest.mark.parametrize(
    ("count", "titles", "row", "column"),
    [(0, [], 0, 0), (6, ["", "", "", "", "", "$a_{$"], 1, 1)],
    ids=["of no pictures, which says so", "of white pictures"],
)
def test_the_title_of_a_picture_is_above_it(tmp_path, count, titles, row, column):
    images, path = np.full((count, 32, 32, 3), 255, np.uint8), tmp_path / "grid.png"
    figures.picture_grid(images, titles, np.zeros(count, bool), path)
    with Image.open(path) as figure:
        pixels = np.asarray(figure.convert("L"))[24:]
    dark = np.argwhere(pixels < 100) / pixels.shape * (1 + (count > 4), 4)  # in cells; frames are lighter
    assert {*map(tuple, dark.astype(int).tolist())} == {(row, column)}
    assert (dark[:, 0] < row + 8 / 42).all(), "a cell is 42 pixels high, the upper 8 are for the title"


def test_bars_are_as_long_as_the_shares_the_longest_on_top(tmp_path: Path) -> None:
    table = pd.DataFrame({"breed": ["pug", "$a_{$", "boxer"], "accuracy": [0.5, 0.25, 1.0], "pictures": [2, 4, 1000]})
    figures.bars(table, "", tmp_path / "bars.png")
    with Image.open(tmp_path / "bars.png") as figure:
        lengths = (np.asarray(figure.convert("RGB")) == (31, 119, 180)).all(-1).sum(1)  # Matplotlib's first colour
    longest_first = [length for length, above in zip(lengths[1:], lengths, strict=False) if length > above + 20]
    assert longest_first == pytest.approx([longest_first[0] * share for share in (1, 0.5, 0.25)], abs=3)


@pytest.mark.parametrize(
    ("counts", "dark"),
    [
        ([[9, 1], [1, 9]], [[True, False], [False, True]]),
        ([[0, 0], [5, 0]], [[False, False], [True, False]]),  # of the cats there is none, of the dogs none was right
    ],
)
def test_a_confusion_matrix_shows_shares_of_each_truth_by_row(tmp_path, counts, dark) -> None:
    figures.confusion_matrix(np.array(counts), ("cat", "dog"), "pictures", tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as figure:
        pixels = np.asarray(figure.convert("RGB"), int)
    blue = (pixels[..., 2] > pixels[..., 0] + 40) & (pixels[..., 0] < 60)
    halves = [np.array_split(half, 2, axis=1) for half in np.array_split(blue, 2, axis=0)]
    assert [[bool(quarter.mean() > 0.4) for quarter in row] for row in halves] == dark
