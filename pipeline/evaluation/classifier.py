"""How the classifier answers a picture, and how its test split is measured and drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from pipeline.data.dataset import Dataset
from pipeline.evaluation import figures, metrics
from pipeline.evaluation.scoring import headline, in_batches, of_confusion, sample
from pipeline.params import Evaluate
from pipeline.tasks import TASKS

TASK = TASKS["classifier"]
DOG_FROM = 0.5  # a picture is called a dog from this probability on


def dog_probabilities(classifier: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the probability of a dog: uint8 (pictures, size, size, 3) -> float32 (pictures,), 0 to 1."""
    return classifier.predict_on_batch(images)[:, 0]


def answer(classifier: keras.Model, images: np.ndarray, sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return for each picture "cat" or "dog", and the probability of that, 0.5 to 1.

    images: uint8 (pictures, size, size, 3). sizes: width and height of each picture, of no account here.
    """
    cat, dog = TASK.labels
    return [
        {"label": dog, "probability": found} if found >= DOG_FROM else {"label": cat, "probability": 1 - found}
        for found in dog_probabilities(classifier, images).tolist()
    ]


def in_words(found: dict[str, Any]) -> str:
    """Return an answer for people: the species and its probability."""
    return f"{found['label']} {found['probability']:.3f}"


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
