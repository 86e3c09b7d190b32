"""How the segmenter's test split is measured and drawn."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd

from pipeline.answers.segmenter import TASK, predict_masks
from pipeline.data.dataset import Dataset
from pipeline.evaluation import figures, metrics
from pipeline.evaluation.scoring import headline, in_batches, of_confusion, sample
from pipeline.params import Evaluate


def evaluate(model: keras.Model, data: Dataset, params: Evaluate, folder: Path) -> dict[str, float]:
    """Return the test metrics; write classes.csv, confusion.png, samples.png and worst.png to the folder."""
    rows = data.rows("test")

    def confuse(part: np.ndarray) -> np.ndarray:
        return metrics.confusion_matrices(data.targets[part], predict_masks(model, data.images[part]), len(TASK.labels))

    confusions = in_batches(confuse, rows)
    total = confusions.sum(0)
    per_class = pd.DataFrame({"class": TASK.labels, "iou": metrics.iou(total), "dice": metrics.dice(total)})
    per_class.to_csv(folder / "classes.csv", index=False)
    figures.confusion_matrix(total, TASK.labels, "pixels", folder / "confusion.png")
    _draw_grids(model, data, rows, metrics.mean_iou(confusions), params, folder)

    scores = {"mean_iou": metrics.mean_iou, "pixel_accuracy": metrics.accuracy}
    weighted = {name: of_confusion(metric, confusions) for name, metric in scores.items()}
    result = headline(TASK, weighted, len(rows), params)
    for name in ("iou", "dice"):
        result |= {f"{name}_{label}": float(value) for label, value in zip(TASK.labels, per_class[name], strict=True)}
    return result


def _draw_grids(
    model: keras.Model, data: Dataset, rows: np.ndarray, scores: np.ndarray, params: Evaluate, folder: Path
) -> None:
    """Draw some pictures, and those with the lowest scores (pictures,)."""
    worst = np.argsort(scores, kind="stable")[: params.grid_pictures]
    for name, picked in (("samples", sample(len(rows), params)), ("worst", worst)):
        shown = rows[picked]
        predicted = in_batches(lambda part: predict_masks(model, data.images[part]), shown)
        scored = [f"mean IoU {score:.2f}" for score in scores[picked]]
        titles = list(zip(data.samples["stem"].iloc[shown], scored, strict=True))
        figures.mask_grid(data.images[shown], data.targets[shown], predicted, titles, folder / f"{name}.png")
