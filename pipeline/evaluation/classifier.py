"""How the classifier's test split is measured and drawn."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from pipeline.answers.classifier import DOG_FROM, TASK, dog_probabilities
from pipeline.data.dataset import Dataset
from pipeline.evaluation import figures, metrics
from pipeline.evaluation.scoring import headline, in_batches, of_confusion, sample
from pipeline.params import Evaluate


def evaluate(model: keras.Model, data: Dataset, params: Evaluate, folder: Path) -> dict[str, float]:
    """Return the test metrics; write predictions.csv, breeds.csv, roc.csv, samples.png, mistakes.png to the folder."""
    rows = data.rows("test")
    probabilities = in_batches(lambda part: dog_probabilities(model, data.images[part]), rows)
    labels, predicted = data.targets[rows][:, 0], (probabilities >= DOG_FROM).astype(np.uint8)
    table = data.samples.iloc[rows][["stem", "breed"]].assign(
        actual=[TASK.labels[k] for k in labels],
        predicted=[TASK.labels[k] for k in predicted],
        dog_probability=probabilities,
    )
    _write_tables(table, labels, folder)
    _draw_grids(table, data, params, folder)

    confusions = metrics.confusion_matrices(labels, predicted, len(TASK.labels))
    scores = {
        "accuracy": of_confusion(metrics.accuracy, confusions),
        "balanced_accuracy": of_confusion(metrics.balanced_accuracy, confusions),
        "macro_f1": of_confusion(metrics.macro_f1, confusions),
        "roc_auc": lambda weights: metrics.roc_auc(labels, probabilities, weights),
    }
    return headline(TASK, scores, len(rows), params)


def _write_tables(table: pd.DataFrame, labels: np.ndarray, folder: Path) -> None:
    table.to_csv(folder / "predictions.csv", index=False)
    right = (table["actual"] == table["predicted"]).groupby(table["breed"])
    right.agg(accuracy="mean", pictures="size").reset_index().to_csv(folder / "breeds.csv", index=False)
    false_positive, true_positive, _ = roc_curve(labels, table["dog_probability"], drop_intermediate=False)
    roc = pd.DataFrame({"false_positive_rate": false_positive, "true_positive_rate": true_positive})
    roc.to_csv(folder / "roc.csv", index=False)


def _draw_grids(table: pd.DataFrame, data: Dataset, params: Evaluate, folder: Path) -> None:
    """Draw some pictures, and the mistakes with the most confident ones first. The table's index is the data's row."""
    mistakes = np.flatnonzero(table["actual"] != table["predicted"])
    confidence = np.abs(table["dog_probability"].to_numpy()[mistakes] - 0.5)
    worst = mistakes[np.argsort(-confidence, kind="stable")][: params.grid_pictures]
    for name, picked in (("samples", sample(len(table), params)), ("mistakes", worst)):
        shown = table.iloc[picked]
        titles = [f"{row.breed} ({row.actual})\ndog {row.dog_probability:.3f}" for row in shown.itertuples()]
        figures.picture_grid(data.images[shown.index], titles, folder / f"{name}.png")
