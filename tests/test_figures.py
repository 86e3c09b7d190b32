"""The picture grids and the confusion matrix, looked at by their colours."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import figures

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def solid_pictures(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), colour, np.uint8) for colour in colours])


def solid_masks(*classes: int) -> np.ndarray:
    return np.stack([np.full((8, 8), k, np.uint8) for k in classes])


def centre(path: Path, colour: tuple[int, int, int]) -> tuple[float, float] | None:
    """Where a colour is, as shares of the figure from the left and from the top; None if it is nowhere."""
    with Image.open(path) as figure:
        assert figure.format == "PNG"
        pixels = np.asarray(figure.convert("RGB"))
    rows, columns = np.nonzero((pixels == colour).all(-1))
    return (columns.mean() / pixels.shape[1], rows.mean() / pixels.shape[0]) if len(rows) else None


def test_a_mask_grid_shows_input_truth_and_prediction_from_left_to_right_a_row_per_picture(tmp_path):
    path = tmp_path / "grid.png"
    figures.mask_grid(solid_pictures(RED, BLUE), solid_masks(0, 1), solid_masks(1, 2), ["first", "second"], path)
    foreground, background, contour = (centre(path, tuple(colour)) for colour in figures.COLOURS.tolist())
    first, second = centre(path, RED), centre(path, BLUE)
    assert first[0] == pytest.approx(second[0], abs=0.01) == pytest.approx(1 / 6, abs=0.05)
    assert foreground == pytest.approx((0.5, first[1]), abs=0.01)  # the truth of the first
    assert contour == pytest.approx((5 / 6, second[1]), abs=0.05)  # the prediction of the second
    assert first[1] < background[1] < second[1]  # the prediction of the first, the truth of the second


def test_a_picture_grid_shows_its_pictures_in_reading_order(tmp_path):
    path = tmp_path / "grid.png"
    figures.picture_grid(solid_pictures(RED, GREEN, GREEN, GREEN, BLUE), list("abcde"), path)  # rows of four
    red, green, blue = (centre(path, colour) for colour in (RED, GREEN, BLUE))
    assert red[0] < green[0]
    assert red[1] == pytest.approx(green[1], abs=0.001)
    assert blue[0] == pytest.approx(red[0], abs=0.001)
    assert blue[1] > red[1]


def test_a_grid_of_no_pictures_is_a_picture_that_says_so(tmp_path):
    path = tmp_path / "grid.png"
    figures.picture_grid(np.empty((0, 8, 8, 3), np.uint8), [], path)
    with Image.open(path) as figure:
        darkest, lightest = figure.convert("L").getextrema()
    assert (darkest < 100, lightest) == (True, 255)  # letters on white


def test_titles_are_in_the_picture(tmp_path):
    contents = set()
    for title in ("Bengal (cat)", "Bengal (dog)"):
        figures.picture_grid(solid_pictures(RED), [title], tmp_path / "grid.png")
        contents.add((tmp_path / "grid.png").read_bytes())
    assert len(contents) == 2


def dark_cells(folder: Path, counts: list[list[int]]) -> list[list[bool]]:
    """Which of the four cells are dark blue, by row and column, in a matrix of two classes."""
    figures.confusion_matrix(np.array(counts), ("cat", "dog"), folder / "confusion.png")
    with Image.open(folder / "confusion.png") as figure:
        pixels = np.asarray(figure.convert("RGB"), int)
    blues = (pixels[..., 2] > pixels[..., 0] + 40) & (pixels[..., 0] < 60)
    height, width = blues.shape
    quarters = [[blues[: height // 2, : width // 2], blues[: height // 2, width // 2 :]]]
    quarters += [[blues[height // 2 :, : width // 2], blues[height // 2 :, width // 2 :]]]
    return [[bool(quarter.mean() > 0.4) for quarter in row] for row in quarters]


@pytest.mark.parametrize(
    ("counts", "dark"),
    [
        ([[9, 1], [1, 9]], [[True, False], [False, True]]),
        ([[0, 5], [0, 7]], [[False, True], [False, True]]),
        ([[0, 0], [5, 0]], [[False, False], [True, False]]),  # of the cats there is none, of the dogs none was right
    ],
)
def test_a_confusion_matrix_shows_shares_of_each_truth_by_row(tmp_path, counts, dark):
    assert dark_cells(tmp_path, counts) == dark


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        figures.mask_grid(solid_pictures(RED), solid_masks(0), solid_masks(2), ["title"], folder / "masks.png")
        figures.picture_grid(solid_pictures(RED), ["title"], folder / "pictures.png")
        figures.confusion_matrix(np.eye(3, dtype=int), "abc", folder / "confusion.png")
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("first", "second"))
    assert first == second
    assert len(first) == 3
