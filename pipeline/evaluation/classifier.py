"""How the classifier's test split is measured and drawn."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from pipeline.answers.classifier import DOG_FROM, TASK, dog_probabilities, in_words
from pipeline.data.dataset import Dataset
from pipeline.evaluation import figures, metrics
from pipeline.evaluation.scoring import headline, in_batches, of_confusion, sample
from pipeline.params import Evaluate


def evaluate(model: keras.Model, data: Dataset, params: Evaluate, folder: Path) -> dict[str, float]:
    """Return the test metrics; write the tables and figures to the folder that data/README.md lists under plots/."""
    rows = data.rows("test")
    probabilities = in_batches(lambda part: dog_probabilities(model, data.images[part]), rows)
    labels, predicted = data.targets[rows][:, 0], (probabilities >= DOG_FROM).astype(np.uint8)
    table = data.samples.iloc[rows][["stem", "breed"]].assign(
        actual=[TASK.labels[k] for k in labels],
        predicted=[TASK.labels[k] for k in predicted],
        dog_probability=probabilities,
    )
    table.to_csv(folder / "predictions.csv", index=False)
    _draw_grids(table, data, params, folder)

    confusions = metrics.confusion_matrices(labels, predicted, len(TASK.labels))
    figures.confusion_matrix(confusions.sum(0), TASK.labels, "pictures", folder / "confusion.png")
    scores = {
        "accuracy": of_confusion(metrics.accuracy, confusions),
        "balanced_accuracy": of_confusion(metrics.balanced_accuracy, confusions),
        "macro_f1": of_confusion(metrics.macro_f1, confusions),
        "roc_auc": lambda weights: metrics.roc_auc(labels, probabilities, weights),
    }
    result = headline(TASK, scores, len(rows), params)
    _summarize(table, labels, result, folder)
    return result


def _summarize(table: pd.DataFrame, labels: np.ndarray, scores: dict[str, float], folder: Path) -> None:
    """Write and draw the accuracy of each breed, the ROC curve, and the calibration in tenths of the probability."""
    right = (table["actual"] == table["predicted"]).groupby(table["breed"])
    breeds = right.agg(accuracy="mean", pictures="size").reset_index()
    false_positive, true_positive, _ = roc_curve(labels, table["dog_probability"], drop_intermediate=False)
    roc = pd.DataFrame({"false_positive_rate": false_positive, "true_positive_rate": true_positive})
    tenth = table.assign(share_of_dogs=labels).groupby(np.minimum(np.floor(10 * table["dog_probability"]), 9))
    calibration = tenth[["dog_probability", "share_of_dogs"]].mean().assign(pictures=tenth.size())
    # The expected calibration error: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017
    distance = np.abs(calibration["share_of_dogs"] - calibration["dog_probability"])
    error = np.average(distance, weights=calibration["pictures"])
    for name, written in (("breeds", breeds), ("roc", roc), ("calibration", calibration)):
        written.to_csv(folder / f"{name}.csv", index=False)
    area = "ROC AUC {roc_auc:.3f} (95 % interval {roc_auc_low:.3f} to {roc_auc_high:.3f})".format(**scores)
    figures.bars(breeds, "accuracy by breed", folder / "breeds.png")
    figures.curve(roc, area, "guessing", folder / "roc.png")
    figures.curve(calibration, f"calibration: mean error {error:.3f}", "perfect", folder / "calibration.png")


def title(row: Any) -> str:
    """Return the name of a picture of predictions.csv, the answer as `predict` gives it, and whether that is right."""
    said = in_words({"label": row.predicted, "probability": max(row.dog_probability, 1 - row.dog_probability)})
    return f"{row.stem}\n" + (f"✓ {said}" if row.predicted == row.actual else f"✗ {said}, is a {row.actual}")


def _draw_grids(table: pd.DataFrame, data: Dataset, params: Evaluate, folder: Path) -> None:
    """Draw some pictures, and the mistakes with the most confident ones first. The table's index is the data's row."""
    mistakes = np.flatnonzero(table["actual"] != table["predicted"])
    confidence = np.abs(table["dog_probability"].to_numpy()[mistakes] - 0.5)
    worst = mistakes[np.argsort(-confidence, kind="stable")][: params.grid_pictures]
    for name, picked in (("samples", sample(len(table), params)), ("mistakes", worst)):
        shown = table.iloc[picked]
        titles, right = [title(row) for row in shown.itertuples()], (shown["actual"] == shown["predicted"]).to_numpy()
        figures.picture_grid(data.images[shown.index], titles, right, folder / f"{name}.png")
