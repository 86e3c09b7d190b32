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
    """Draw the shares of each true class (row), and the numbers behind them.

    counts: int (classes, classes), truth by row, prediction by column. unit: what is counted, as "pictures".
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = _chart(5, 4.5, title=f"share of the true {unit} ({counts.sum():,} in all)")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="truth")
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels, rotation=90, va="center")
    for (row, column), share in np.ndenumerate(shares):
        text, colour = f"{share:.3f}\n{counts[row, column]:,}", "white" if share > 0.5 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    figure.savefig(path, dpi=100)


def roc(curve: pd.DataFrame, title: str, path: Path) -> None:
    """Draw the ROC curve of the columns false_positive_rate and true_positive_rate, and that of guessing."""
    figure, axes = _chart(
        5, 4.5, title=title, xlabel="share of the cats called dogs", ylabel="share of the dogs called dogs"
    )
    axes.plot([0, 1], [0, 1], "--", color="grey", label="guessing")
    axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], color=np.divide(BLUE, 255), label="classifier")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=100)


def breeds(table: pd.DataFrame, path: Path) -> None:
    """Draw a bar for each row of the columns breed, accuracy and pictures, the highest accuracy on top."""
    ranked = table.sort_values("accuracy", kind="stable", ascending=False)
    figure, axes = _chart(
        7, 1 + 0.2 * len(ranked), title="accuracy by breed", xlabel="accuracy, and of how many pictures"
    )
    bars = axes.barh(range(len(ranked)), ranked["accuracy"], color=np.divide(BLUE, 255))
    axes.bar_label(bars, [f"{row.accuracy:.2f} of {row.pictures}" for row in ranked.itertuples()], padding=3)
    axes.set_yticks(range(len(ranked)), ranked["breed"], parse_math=False)
    axes.set(xlim=(0, 1.25), ylim=(len(ranked) - 0.5, -0.5))
    figure.savefig(path, dpi=100)


def calibration(table: pd.DataFrame, path: Path) -> None:
    """Draw how many were dogs among the pictures with about the same probability, and how many pictures those are.

    table: the columns from (the lower end of a tenth), dog_probability (mean), dogs (share) and pictures (number).
    The error is the mean distance from the diagonal over pictures: C. Guo et al., 2017, https://arxiv.org/abs/1706.04599.
    """
    error = np.average(np.abs(table["dogs"] - table["dog_probability"]), weights=table["pictures"])
    figure = Figure(figsize=(5, 5.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], "--", color="grey", label="perfect")
    upper.plot(table["dog_probability"], table["dogs"], "o-", color=np.divide(BLUE, 255), label="classifier")
    upper.set(title=f"calibration: mean error {error:.3f}", ylabel="share of dogs")
    upper.legend(loc="upper left")
    bars = lower.bar(table["from"], table["pictures"], width=0.1, align="edge", color=np.divide(BLUE, 255), ec="white")
    lower.bar_label(bars, fontsize=8)
    lower.set(xlabel="probability of a dog", ylabel="pictures")
    lower.margins(y=0.2)
    figure.savefig(path, dpi=100)


def mask_grid(
    images: np.ndarray, truth: np.ndarray, predicted: np.ndarray, titles: Sequence[Sequence[str]], path: Path
) -> None:
    """Draw a row per picture: the picture, its true mask, the predicted one, and that over the picture.

    images: uint8 (pictures, size, size, 3). truth, predicted: classes, uint8 (pictures, size, size).
    titles: of the picture and of the last one, (pictures, 2).
    """
    covered = [np.asarray(overlay(*pair)) for pair in zip(images, predicted, strict=True)]
    rows = np.stack([images, COLOURS[truth], COLOURS[predicted], covered], axis=1)
    texts = [[first, "truth", "prediction", last] for first, last in titles]
    _grid(rows, texts, dict(zip(TASKS["segmenter"].labels, COLOURS, strict=True)), path)


def picture_grid(images: np.ndarray, titles: Sequence[str], right: np.ndarray, path: Path) -> None:
    """Draw pictures in frames, each with a title, of up to two lines; an empty grid says that there is none.

    images: uint8 (pictures, size, size, 3). right: whether the answer is, bool (pictures,).
    """
    frame = max(1, images.shape[1] // 24)
    texts = list(titles) or ["none"]
    texts += [""] * (-len(texts) % COLUMNS)
    size = images.shape[1] + 2 * frame
    framed = np.full((len(texts), size, size, 3), 255, np.uint8)
    framed[: len(images)] = np.where(right[:, None], BLUE, VERMILLION)[:, None, None]
    framed[: len(images), frame:-frame, frame:-frame] = images
    _grid(
        framed.reshape(-1, COLUMNS, size, size, 3),
        np.reshape(texts, (-1, COLUMNS)),
        {"right ✓": BLUE, "wrong ✗": VERMILLION},
        path,
    )


def overlay(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Return a picture, half covered by the colours of foreground and contour.

    image: uint8 (height, width, 3); mask: classes, uint8 (height, width).
    """
    picture = Image.fromarray(image)
    covered = Image.blend(picture, Image.fromarray(COLOURS[mask]), 0.5)
    return Image.composite(picture, covered, Image.fromarray(mask == 1))


def _chart(width: float, height: float, **texts: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set(**texts)
    return figure, axes


def _grid(pictures: np.ndarray, titles: Sequence[Sequence[str]], legend: dict[str, Sequence[int]], path: Path) -> None:
    """Draw pictures uint8 (rows, columns, size, size, 3), each below its title of up to two lines.

    All are one picture to matplotlib, which takes 0.3 s for 24 of them, for axes of their own 0.9.
    legend: colours, 0 to 255, by what they mean.
    """
    size = pictures.shape[2]
    above, beside = size // 4, size // 16
    spaced = np.pad(pictures, ((0, 0), (0, 0), (above, 0), (0, beside), (0, 0)), constant_values=255)
    rows, columns, height, width, _ = spaced.shape
    tall = 2.4 * rows * height / width
    figure = Figure(figsize=(2.4 * columns, tall + 0.3))
    axes = figure.add_axes((0, 0, 1, tall / (tall + 0.3)))
    axes.set_axis_off()
    axes.imshow(spaced.swapaxes(1, 2).reshape(rows * height, columns * width, 3))
    for (row, column), title in np.ndenumerate(np.array(titles)):
        place = column * width + size / 2, row * height + 0.9 * above
        axes.text(*place, title, fontsize=9, ha="center", va="bottom", parse_math=False)
    patches = [Patch(color=np.divide(colour, 255), label=name) for name, colour in legend.items()]
    figure.legend(handles=patches, loc="upper center", ncols=len(patches), frameon=False, fontsize=9)
    figure.savefig(path, dpi=80)
