"""Stages evaluate_segmenter and evaluate_classifier: the best checkpoint on the official test split.

    python -m pipeline.evaluate segmenter
    python -m pipeline.evaluate classifier

Reads   data/models/TASK.keras, data/history/TASK.csv, data/prepared/TASK/
Writes  data/metrics/TASK.json   each headline figure with its 95 % bootstrap interval over pictures
        data/plots/TASK/         confusion matrix, ROC, figures per class and breed (CSV, PNG); picture grids (PNG)
        the same to the checkpoint's run in MLflow
"""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipeline.data.dataset import Dataset, load_dataset
from pipeline.errors import writing
from pipeline.evaluation import figures, metrics
from pipeline.inputs import content_md5
from pipeline.outputs import write_metrics
from pipeline.params import Evaluate, load_params
from pipeline.paths import MODELS, PLOTS, PREPARED
from pipeline.predict import DOG_FROM, dog_probabilities, predict_masks
from pipeline.stage import run, task_argument
from pipeline.tasks import CLASSES, SPECIES
from pipeline.tracking.lineage import Training, stored_history
from pipeline.tracking.record import record_evaluation
from pipeline.training.checkpoint import load_checkpoint, prune_states

BATCH = 64  # pictures predicted at once; the result does not depend on it

Weighted = Callable[[np.ndarray], float]  # a metric as a function of how often each picture counts, (pictures,)


def headline(figures_of_merit: dict[str, Weighted], pictures: int, params: Evaluate) -> dict[str, float]:
    """NAME, NAME_low and NAME_high (the 95 % interval) for each metric."""
    result = {}
    for name, metric in figures_of_merit.items():
        result[name] = float(metric(np.ones(pictures, np.int64)))
        low, high = metrics.interval(metric, pictures, params.bootstrap_samples, params.seed)
        result |= {f"{name}_low": low, f"{name}_high": high}
        print(f"{name} {result[name]:.4f} (95 % interval {low:.4f} to {high:.4f}) on {pictures} test pictures")
    return result


def of_confusion(metric: Callable[[np.ndarray], np.ndarray], confusions: np.ndarray) -> Weighted:
    """A metric of a confusion matrix, for matrices per picture (pictures, classes, classes)."""
    flat = confusions.reshape(len(confusions), -1)
    return lambda weights: metric((weights @ flat).reshape(confusions.shape[1:]))


def in_batches(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """The function of some rows at a time, joined."""
    return np.concatenate([function(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)])


def sample(pictures: int, params: Evaluate) -> np.ndarray:
    """The pictures of a grid, drawn by the seed, in order."""
    return np.sort(np.random.default_rng(params.seed).permutation(pictures)[: params.grid_pictures])


def draw_mask_grids(
    model: keras.Model, data: Dataset, rows: np.ndarray, scores: np.ndarray, params: Evaluate, folder: Path
) -> None:
    """samples.png, and worst.png with the lowest scores (pictures,)."""
    worst = np.argsort(scores, kind="stable")[: params.grid_pictures]
    for name, picked in (("samples", sample(len(rows), params)), ("worst", worst)):
        images, titles = data.images[rows[picked]], [f"mean IoU {score:.2f}" for score in scores[picked]]
        predicted = in_batches(lambda part: predict_masks(model, data.images[part]), rows[picked])
        figures.mask_grid(images, data.targets[rows[picked]], predicted, titles, folder / f"{name}.png")


def evaluate_masks(model: keras.Model, data: Dataset, params: Evaluate, folder: Path) -> dict[str, float]:
    """The segmenter's metrics; writes its plots to the folder."""
    rows = data.rows("test")

    def confuse(part: np.ndarray) -> np.ndarray:
        return metrics.confusion_matrices(data.targets[part], predict_masks(model, data.images[part]), len(CLASSES))

    confusions = in_batches(confuse, rows)
    total = confusions.sum(0)
    per_class = pd.DataFrame({"class": CLASSES, "iou": metrics.iou(total), "dice": metrics.dice(total)})
    per_class.to_csv(folder / "classes.csv", index=False)
    figures.confusion_matrix(total, CLASSES, folder / "confusion.png")
    draw_mask_grids(model, data, rows, metrics.mean_iou(confusions), params, folder)

    scores = {"mean_iou": metrics.mean_iou, "pixel_accuracy": metrics.accuracy}
    result = headline({name: of_confusion(metric, confusions) for name, metric in scores.items()}, len(rows), params)
    for name in ("iou", "dice"):
        result |= {f"{name}_{label}": float(value) for label, value in zip(CLASSES, per_class[name], strict=True)}
    return result


def write_label_tables(table: pd.DataFrame, labels: np.ndarray, folder: Path) -> None:
    """predictions.csv, breeds.csv and roc.csv."""
    table.to_csv(folder / "predictions.csv", index=False)
    right = (table["actual"] == table["predicted"]).groupby(table["breed"])
    right.agg(accuracy="mean", pictures="size").reset_index().to_csv(folder / "breeds.csv", index=False)
    false_positive, true_positive = metrics.roc_curve(labels, table["dog_probability"].to_numpy())
    roc = pd.DataFrame({"false_positive_rate": false_positive, "true_positive_rate": true_positive})
    roc.to_csv(folder / "roc.csv", index=False)


def draw_label_grids(table: pd.DataFrame, data: Dataset, params: Evaluate, folder: Path) -> None:
    """samples.png, and mistakes.png with the most confident ones first. The table's index is the row in the data."""
    mistakes = np.flatnonzero(table["actual"] != table["predicted"])
    confidence = np.abs(table["dog_probability"].to_numpy()[mistakes] - 0.5)
    worst = mistakes[np.argsort(-confidence, kind="stable")][: params.grid_pictures]
    for name, picked in (("samples", sample(len(table), params)), ("mistakes", worst)):
        shown = table.iloc[picked]
        titles = [f"{row.breed} ({row.actual})\ndog {row.dog_probability:.3f}" for row in shown.itertuples()]
        figures.picture_grid(data.images[shown.index], titles, folder / f"{name}.png")


def evaluate_labels(model: keras.Model, data: Dataset, params: Evaluate, folder: Path) -> dict[str, float]:
    """The classifier's metrics; writes its plots to the folder."""
    rows = data.rows("test")
    scores = in_batches(lambda part: dog_probabilities(model, data.images[part]), rows)
    labels, predicted = data.targets[rows, 0], (scores >= DOG_FROM).astype(np.uint8)
    table = data.samples.iloc[rows][["stem", "breed"]].assign(
        actual=[SPECIES[k] for k in labels], predicted=[SPECIES[k] for k in predicted], dog_probability=scores
    )
    write_label_tables(table, labels, folder)
    draw_label_grids(table, data, params, folder)

    confusions = metrics.confusion_matrices(labels, predicted, len(SPECIES))
    figures_of_merit = {
        "accuracy": of_confusion(metrics.accuracy, confusions),
        "balanced_accuracy": of_confusion(metrics.balanced_accuracy, confusions),
        "macro_f1": of_confusion(metrics.macro_f1, confusions),
        "roc_auc": lambda weights: metrics.roc_auc(labels, scores, weights),
    }
    return headline(figures_of_merit, len(rows), params)


@writing(PLOTS)
def evaluate(task: str) -> None:
    """Measure a task's checkpoint, "segmenter" or "classifier". Raises InputError if it, or the data, is not whole."""
    params = load_params()
    prune_states(task, stored_history(task))
    tf.config.experimental.enable_op_determinism()  # a GPU may otherwise choose another kernel every time
    data, folder = load_dataset(task), PLOTS / task
    model = load_checkpoint(MODELS / f"{task}.keras")
    folder.mkdir(parents=True, exist_ok=True)
    measure = {"segmenter": evaluate_masks, "classifier": evaluate_labels}[task]
    result = measure(model, data, getattr(params, f"evaluate_{task}"), folder)
    result = {name: value for name, value in result.items() if np.isfinite(value)}  # a class may never occur
    write_metrics(task, result)
    decided = getattr(params, f"train_{task}").model_dump() | {"image_size": data.image_size}
    record_evaluation(Training(task, decided, content_md5(PREPARED / task)))


if __name__ == "__main__":
    run(evaluate, task_argument())
