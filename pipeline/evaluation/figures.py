"""Figures of an evaluation, and pictures with their masks. The same input gives the same bytes.

Red-blind, green-blind and blue-blind people can tell the colours apart: M. Okabe and K. Ito, Color Universal Design,
2008, https://jfly.uni-koeln.de/color/. No figure says anything by colour alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot there is no display to choose and nothing to close
from matplotlib.patches import Patch
from PIL import Image

from pipeline.tasks import TASKS

BLUE, VERMILLION, YELLOW = (0, 114, 178), (213, 94, 0), (240, 228, 66)
COLOURS = np.array([BLUE, (40, 40, 40), YELLOW], np.uint8)  # foreground, background, contour
COLUMNS = 4  # of a picture grid


def confusion_matrix(counts: np.ndarray, labels: Sequence[str], unit: str, path: Path) -> None:
    """Draw the shares of each true class (row) of int (classes, classes), truth by row, prediction by column.

    unit: what is counted, as "pictures".
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = _chart(f"share of each true class ({counts.sum():,} {unit})", "predicted", "truth")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels, rotation=90, va="center")
    for (row, column), share in np.ndenumerate(shares):
        text, colour = f"{share:.3f}\n{counts[row, column]:,}", "white" if share > 0.5 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    figure.savefig(path, dpi=100)


def curve(table: pd.DataFrame, title: str, diagonal: str, path: Path) -> None:
    """Draw the second column over the first, both 0 to 1, and the diagonal. diagonal: what lies on it, as "guessing".

    A third column, if there is one, is the number of pictures of each point, which is written beside it.
    """
    x, y, *counts = table.columns
    figure, axes = _chart(title, x.replace("_", " "), y.replace("_", " "))
    axes.plot([0, 1], [0, 1], "--", color="grey", label=diagonal)
    axes.plot(table[x], table[y], "o-" if counts else "-", label="classifier" + ", of so many pictures" * bool(counts))
    for *place, count in table.itertuples(index=False) if counts else ():
        axes.annotate(f"{count:,}", place, (5, -11), textcoords="offset points", fontsize=8)
    axes.legend()
    figure.savefig(path, dpi=100)


def bars(table: pd.DataFrame, title: str, path: Path) -> None:
    """Draw a bar for each row of the columns name, share (0 to 1) and number of pictures, the longest on top."""
    name, share, _ = table.columns
    ranked = table.sort_values(share, kind="stable", ascending=False)
    figure, axes = _chart(title, f"{share}, and of how many pictures", "", (7, 1 + 0.2 * len(ranked)))
    drawn = axes.barh(range(len(ranked)), ranked[share])
    axes.bar_label(drawn, [f"{row[2]:.2f} of {row[3]:,}" for row in ranked.itertuples()], padding=3)
    axes.set_yticks(range(len(ranked)), ranked[name], parse_math=False)
    axes.set(xlim=(0, 1.25), xticks=np.linspace(0, 1, 6), ylim=(len(ranked) - 0.5, -0.5))
    figure.savefig(path, dpi=100)


def mask_grid(images: np.ndarray, truth: np.ndarray, predicted: np.ndarray, titles: list[tuple], path: Path) -> None:
    """Draw a row per picture: the picture, its true mask, the predicted one, and that over the picture.

    images: uint8 (pictures, size, size, 3). truth, predicted: classes, uint8 (pictures, size, size).
    titles: of the first and of the last one in each row.
    """
    covered = [np.asarray(overlay(*pair)) for pair in zip(images, predicted, strict=True)]
    rows = np.stack([images, COLOURS[truth], COLOURS[predicted], covered], axis=1)
    texts = [text for first, last in titles for text in (first, "truth", "prediction", last)]
    _grid(rows.reshape(-1, *images.shape[1:]), texts, dict(zip(TASKS["segmenter"].labels, COLOURS, strict=True)), path)


def picture_grid(images: np.ndarray, titles: Sequence[str], right: np.ndarray, path: Path) -> None:
    """Draw pictures in frames, each with a title, of up to two lines; an empty grid says that there is none.

    images: uint8 (pictures, size, size, 3). right: whether the answer is, bool (pictures,).
    """
    frame = images.shape[1] // 24 + 1
    colours = np.where(right[:, None, None, None], BLUE, VERMILLION).astype(np.uint8)
    cells = np.tile(colours, (1, *np.add(images.shape[1:3], 2 * frame), 1))
    cells[:, frame:-frame, frame:-frame] = images
    _grid(cells, titles or ["none"], {"right ✓": BLUE, "wrong ✗": VERMILLION}, path)


def overlay(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Return a picture, half covered by the colours of foreground and contour.

    image: uint8 (height, width, 3); mask: classes, uint8 (height, width).
    """
    picture = Image.fromarray(image)
    covered = Image.blend(picture, Image.fromarray(COLOURS[mask]), 0.5)
    return Image.composite(picture, covered, Image.fromarray(mask == 1))


def _chart(title: str, x: str, y: str, size: tuple[float, float] = (5, 4.5)) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def _grid(pictures: np.ndarray, titles: Sequence[str], legend: dict[str, Sequence[int]], path: Path) -> None:
    """Draw pictures uint8 (pictures, size, size, 3) in rows of COLUMNS, each below its title of up to two lines.

    All are one picture to matplotlib, which takes 0.3 s for 24 of them, for axes of their own 0.9.
    legend: colours, 0 to 255, by what they mean.
    """
    size = pictures.shape[1]
    rows, height, width = -(-len(titles) // COLUMNS), size + size // 4, size + size // 16
    cells = np.full((rows * COLUMNS, height, width, 3), 255, np.uint8)
    cells[: len(pictures), -size:, :size] = pictures
    cells = cells.reshape(rows, COLUMNS, height, width, 3).swapaxes(1, 2)
    tall = 2.4 * rows * height / width
    figure = Figure(figsize=(2.4 * COLUMNS, tall + 0.3))
    axes = figure.add_axes((0, 0, 1, tall / (tall + 0.3)))
    axes.set_axis_off()
    axes.imshow(cells.reshape(rows * height, COLUMNS * width, 3))
    for place, title in enumerate(titles):
        x, y = place % COLUMNS * width + size / 2, place // COLUMNS * height + 0.22 * size
        axes.text(x, y, title, fontsize=9, ha="center", va="bottom", parse_math=False)
    patches = [Patch(color=np.divide(colour, 255), label=name) for name, colour in legend.items()]
    figure.legend(handles=patches, loc="upper center", ncols=len(patches), frameon=False, fontsize=9)
    figure.savefig(path, dpi=80)
