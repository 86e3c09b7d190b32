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
    return [decide(found) for found in dog_probabilities(classifier, images).tolist()]


def decide(dog: float) -> dict[str, Any]:
    """Return the answer that a probability of a dog means."""
    label, probability = (TASK.labels[1], dog) if dog >= DOG_FROM else (TASK.labels[0], 1 - dog)
    return {"label": label, "probability": probability}


def in_words(found: dict[str, Any]) -> str:
    """Return an answer for people: the species and its probability."""
    return f"{found['label']} {found['probability']:.3f}"


def evaluate(model: keras.Model, data: Dataset, params: Evaluate, folder: Path) -> dict[str, float]:
    """Return the test metrics; write to the folder tables, a chart of each, and grids of pictures.

    predictions.csv, breeds.csv, roc.csv, calibration.csv; confusion.png, breeds.png, roc.png, calibration.png;
    samples.png, mistakes.png.
    """
    rows = data.rows("test")
    probabilities = in_batches(lambda part: dog_probabilities(model, data.images[part]), rows)
    labels, predicted = data.targets[rows][:, 0], (probabilities >= DOG_FROM).astype(np.uint8)
    confusions = metrics.confusion_matrices(labels, predicted, len(TASK.labels))
    scores = {
        "accuracy": of_confusion(metrics.accuracy, confusions),
        "balanced_accuracy": of_confusion(metrics.balanced_accuracy, confusions),
        "macro_f1": of_confusion(metrics.macro_f1, confusions),
        "roc_auc": lambda weights: metrics.roc_auc(labels, probabilities, weights),
    }
    result = headline(TASK, scores, len(rows), params)

    table = data.samples.iloc[rows][["stem", "breed"]].assign(
        actual=[TASK.labels[k] for k in labels],
        predicted=[TASK.labels[k] for k in predicted],
        dog_probability=probabilities,
    )
    tables = {"predictions": table} | _summaries(table, labels)
    for name, rows_of in tables.items():
        rows_of.to_csv(folder / f"{name}.csv", index=False)
    area = "ROC AUC {roc_auc:.3f} (95 % interval {roc_auc_low:.3f} to {roc_auc_high:.3f})".format(**result)
    figures.confusion_matrix(confusions.sum(0), TASK.labels, "pictures", folder / "confusion.png")
    figures.roc(tables["roc"], area, folder / "roc.png")
    figures.breeds(tables["breeds"], folder / "breeds.png")
    figures.calibration(tables["calibration"], folder / "calibration.png")
    _draw_grids(table, data, params, folder)
    return result


def _summaries(table: pd.DataFrame, labels: np.ndarray) -> dict[str, pd.DataFrame]:
    """Return the tables breeds, roc and calibration of the predictions; calibration in tenths of the probability."""
    right = (table["actual"] == table["predicted"]).groupby(table["breed"])
    false_positive, true_positive, _ = roc_curve(labels, table["dog_probability"], drop_intermediate=False)
    tenths = np.minimum(np.floor(10 * table["dog_probability"]), 9) / 10
    calibration = table.assign(dog=labels).groupby(tenths.rename("from"))
    return {
        "breeds": right.agg(accuracy="mean", pictures="size").reset_index(),
        "roc": pd.DataFrame({"false_positive_rate": false_positive, "true_positive_rate": true_positive}),
        "calibration": calibration.agg(
            dog_probability=("dog_probability", "mean"), dogs=("dog", "mean"), pictures=("dog", "size")
        ).reset_index(),
    }


def _draw_grids(table: pd.DataFrame, data: Dataset, params: Evaluate, folder: Path) -> None:
    """Draw some pictures, and the mistakes with the most confident ones first. The table's index is the data's row."""
    right = (table["actual"] == table["predicted"]).to_numpy()
    mistakes = np.flatnonzero(~right)
    confidence = np.abs(table["dog_probability"].to_numpy()[mistakes] - DOG_FROM)
    worst = mistakes[np.argsort(-confidence, kind="stable")][: params.grid_pictures]
    for name, picked in (("samples", sample(len(table), params)), ("mistakes", worst)):
        shown = table.iloc[picked]
        said = [in_words(decide(probability)) for probability in shown["dog_probability"]]
        signs = ["✓ {}" if good else "✗ {}, is a {}" for good in right[picked]]
        titles = [
            f"{stem}\n{sign.format(words, actual)}"
            for stem, sign, words, actual in zip(shown["stem"], signs, said, shown["actual"], strict=True)
        ]
        figures.picture_grid(data.images[shown.index], titles, right[picked], folder / f"{name}.png")
