"""Pictures of pictures, for evaluation and prediction. The same input gives the same bytes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # without pyplot there is no display to choose and nothing to close
from PIL import Image

COLOURS = np.array([[230, 97, 0], [40, 40, 40], [255, 230, 60]], np.uint8)  # foreground, background, contour
COLUMNS = 4  # of a picture grid


def confusion_matrix(counts: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Draw the shares of each true class (row) of int (classes, classes), truth by row, prediction by column."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels, rotation=90, va="center")
    axes.set(xlabel="predicted", ylabel="truth", title=f"share of true pixels ({counts.sum():,} in all)")
    for (row, column), share in np.ndenumerate(shares):
        axes.text(column, row, f"{share:.3f}", ha="center", va="center", color="white" if share > 0.5 else "black")
    figure.savefig(path, dpi=100)


def mask_grid(images: np.ndarray, truth: np.ndarray, predicted: np.ndarray, titles: Sequence[str], path: Path) -> None:
    """Draw a row per picture: input uint8 (pictures, size, size, 3), truth and prediction (pictures, size, size)."""
    rows = np.stack([images, COLOURS[truth], COLOURS[predicted]], axis=1)
    _grid(rows, [["input", "truth", title] for title in titles], path)


def picture_grid(images: np.ndarray, titles: Sequence[str], path: Path) -> None:
    """Draw pictures uint8 (pictures, size, size, 3) with a title each; an empty grid says that there is none."""
    texts = list(titles) or ["none"]
    texts += [""] * (-len(texts) % COLUMNS)
    pictures = np.pad(images, ((0, len(texts) - len(images)), (0, 0), (0, 0), (0, 0)), constant_values=255)
    _grid(pictures.reshape(-1, COLUMNS, *images.shape[1:]), np.reshape(texts, (-1, COLUMNS)), path)


def overlay(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Return a picture, half covered by the colours of foreground and contour.

    image: uint8 (height, width, 3); mask: classes, uint8 (height, width).
    """
    picture = Image.fromarray(image)
    covered = Image.blend(picture, Image.fromarray(COLOURS[mask]), 0.5)
    return Image.composite(picture, covered, Image.fromarray(mask == 1))


def _grid(pictures: np.ndarray, titles: Sequence[Sequence[str]], path: Path) -> None:
    """Draw pictures uint8 (rows, columns, size, size, 3), each below its title of up to two lines.

    All are one picture to matplotlib, which takes 0.3 s for 24 of them, for axes of their own 0.9.
    """
    size = pictures.shape[2]
    above, beside = size // 4, size // 16
    framed = np.pad(pictures, ((0, 0), (0, 0), (above, 0), (0, beside), (0, 0)), constant_values=255)
    rows, columns, height, width, _ = framed.shape
    figure = Figure(figsize=(2.4 * columns, 2.4 * rows * height / width))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(framed.swapaxes(1, 2).reshape(rows * height, columns * width, 3))
    for (row, column), title in np.ndenumerate(np.array(titles)):
        place = column * width + size / 2, row * height + 0.9 * above
        axes.text(*place, title, fontsize=9, horizontalalignment="center", verticalalignment="bottom")
    figure.savefig(path, dpi=80)
