"""Pictures of pictures, for evaluation and prediction. The same input gives the same bytes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # without pyplot there is no display to choose and nothing to close
from PIL import Image

COLOURS = np.array([[230, 97, 0], [40, 40, 40], [255, 230, 60]], np.uint8)  # foreground, background, contour
COLUMNS = 4  # of a picture grid


def confusion_matrix(counts: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Shares of each true class (row), from int (classes, classes), truth by row and prediction by column."""
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
    """A row per picture: input uint8 (pictures, size, size, 3), truth and prediction classes (pictures, size, size)."""
    figure = Figure(figsize=(7.5, 2.6 * len(images)), layout="constrained")
    cells = figure.subplots(len(images), 3, squeeze=False)
    for k, row in enumerate(cells):
        shown = (("input", images[k]), ("truth", COLOURS[truth[k]]), (titles[k], COLOURS[predicted[k]]))
        for axes, (title, picture) in zip(row, shown, strict=True):
            _show(axes, picture, title)
    figure.savefig(path, dpi=80)


def picture_grid(images: np.ndarray, titles: Sequence[str], path: Path) -> None:
    """Pictures uint8 (pictures, size, size, 3) with a title each; an empty grid says that there is none."""
    rows = max(1, -(-len(images) // COLUMNS))
    figure = Figure(figsize=(2.4 * COLUMNS, 2.9 * rows), layout="constrained")
    cells = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, picture, title in zip(cells, images, titles, strict=False):
        _show(axes, picture, title)
    if not len(images):
        figure.suptitle("none")
    figure.savefig(path, dpi=80)


def overlay(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """A picture, half covered by the colours of foreground and contour.

    image: uint8 (height, width, 3); mask: classes, uint8 (height, width).
    """
    picture = Image.fromarray(image)
    covered = Image.blend(picture, Image.fromarray(COLOURS[mask]), 0.5)
    return Image.composite(picture, covered, Image.fromarray(mask == 1))


def _show(axes, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()
