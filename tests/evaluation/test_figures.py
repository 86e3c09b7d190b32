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


def pixels_of(path: Path) -> np.ndarray:
    """The pixels of a grid below its legend, which has the upper 0.3 inches."""
    with Image.open(path) as figure:
        return np.asarray(figure.convert("RGB"), int)[24:]


def cells(found: np.ndarray, rows: int) -> set[tuple[int, int]]:
    """Rows and columns of the cells of a grid in which these pixels are."""
    places = np.argwhere(found) / found.shape * (rows, figures.COLUMNS)
    return {*map(tuple, places.astype(int).tolist())}


def test_a_mask_grid_shows_picture_truth_prediction_and_that_over_the_picture_below_a_legend(tmp_path: Path) -> None:
    path = tmp_path / "grid.png"
    figures.mask_grid(solid(RED, GREEN), solid(0, 1), solid(1, 2), [("first", ""), ("second", "")], path)
    rows = np.array_split(pixels_of(path), 2)
    foreground, background, contour = figures.COLOURS.tolist()
    shown = [[foreground, background], [background, contour]]  # truth and prediction of each
    tinted = [RED, [(a + b) // 2 for a, b in zip(GREEN, contour, strict=True)]]  # background is left as it is
    for row, picture, masks, over in zip(rows, (RED, GREEN), shown, tinted, strict=True):
        np.testing.assert_allclose(row[110, 96 + 192 * np.arange(4)], [picture, *masks, over], atol=1)
    with Image.open(path) as figure:
        legend = np.asarray(figure.convert("RGB"))[:24]
    assert [bool((legend == colour).all(-1).sum() > 50) for colour in figures.COLOURS] == [True] * 3


def test_a_picture_grid_shows_its_pictures_in_reading_order_with_frames_for_right_and_wrong(tmp_path: Path) -> None:
    path, colours = tmp_path / "grid.png", (RED, GREEN, GREEN, GREEN, BLUE)
    figures.picture_grid(solid(*colours), list("abcde"), np.array([False, True, True, True, False]), path)
    pixels, others = pixels_of(path), {(0, 1), (0, 2), (0, 3)}
    expected = {
        RED: {(0, 0)},
        GREEN: others,
        BLUE: {(1, 0)},
        figures.VERMILLION: {(0, 0), (1, 0)},
        figures.BLUE: others,
    }
    assert {colour: cells((pixels == colour).all(-1), 2) for colour in expected} == expected


@pytest.mark.parametrize(
    ("count", "titles", "row", "column"),
    [(0, [], 0, 0), (6, ["", "", "", "", "", "$a_{$"], 1, 1)],
    ids=["of no pictures, which says so", "of white pictures"],
)
def test_the_title_of_a_picture_is_above_it(tmp_path, count, titles, row, column):
    images, path = np.full((count, 32, 32, 3), 255, np.uint8), tmp_path / "grid.png"
    figures.picture_grid(images, titles, np.zeros(count, bool), path)
    dark, rows = pixels_of(path).max(-1) < 100, 1 + (count > 4)  # frames are lighter
    assert cells(dark, rows) == {(row, column)}
    assert (np.argwhere(dark)[:, 0] / len(dark) * rows < row + 8 / 42).all(), "of 42 pixels the upper 8 are its title's"


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
