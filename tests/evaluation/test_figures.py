"""The picture grids and the confusion matrix, looked at by their colours."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation import figures

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


def dark_parts(path: Path) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom of all that is dark, as shares of the figure; None if nothing is."""
    with Image.open(path) as figure:
        pixels = np.asarray(figure.convert("L"))
    rows, columns = np.nonzero(pixels < 100)
    if not len(rows):
        return None
    height, width = pixels.shape
    return columns.min() / width, rows.min() / height, columns.max() / width, rows.max() / height


def test_a_grid_of_no_pictures_is_a_picture_that_says_so(tmp_path):
    figures.picture_grid(np.empty((0, 8, 8, 3), np.uint8), [], tmp_path / "grid.png")
    left, top, right, bottom = dark_parts(tmp_path / "grid.png")
    assert 0 < left < right < 1 / 4  # letters, above the first of four places
    assert 0 < top < bottom < 1 / 4


def white_pictures(count: int) -> np.ndarray:
    return np.full((count, 32, 32, 3), 255, np.uint8)


# Each picture of 32 pixels has a title of 8 above it and a gap of 2 to its right: cells of 34 x 40.
def test_a_title_of_a_picture_grid_is_above_its_picture_and_all_but_titles_and_pictures_is_white(tmp_path):
    figures.picture_grid(white_pictures(6), ["", "", "", "", "", "xx"], tmp_path / "grid.png")  # the second of row two
    left, top, right, bottom = dark_parts(tmp_path / "grid.png")
    assert 34 < left * 4 * 34 < right * 4 * 34 < 66
    assert (left + right) / 2 * 4 * 34 == pytest.approx(34 + 16, abs=1)
    assert 40 < top * 2 * 40 < bottom * 2 * 40 < 48


def test_a_mask_grid_names_its_columns_and_puts_the_title_above_the_prediction(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "COLOURS", np.full((3, 3), 255, np.uint8))  # so that what is dark is text
    masks, shown = np.zeros((2, 32, 32), np.uint8), []
    for title in ("", "xx"):
        figures.mask_grid(white_pictures(2), masks, masks, ["", title], tmp_path / "grid.png")
        with Image.open(tmp_path / "grid.png") as figure:
            shown.append(np.asarray(figure.convert("L")))
    dark = np.nonzero((shown[0] < 100).any(0))[0] * 3 / shown[0].shape[1]  # in columns of the grid
    assert set(dark.astype(int)) == {0, 1}  # input, truth
    rows, columns = np.nonzero(shown[0] != shown[1])
    assert set((columns * 3 / shown[0].shape[1]).astype(int)) == {2}
    assert set((rows * 2 * 40 / shown[0].shape[0]).astype(int)) <= set(range(40, 48))


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
