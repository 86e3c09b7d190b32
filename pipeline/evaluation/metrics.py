"""Figures of merit from confusion matrices, with bootstrap intervals. numpy only.

A confusion matrix counts truth by row and prediction by column. Every function takes (..., classes, classes) and works
on the last two axes, so that a stack of resampled matrices gives a stack of results. A class that occurs neither in the
truth nor in the prediction has no IoU and no Dice: nan, left out of means.
"""

from collections.abc import Callable, Iterator

import numpy as np


def confusion_matrices(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """One matrix per picture: integer classes (pictures, ...) twice -> int64 (pictures, classes, classes)."""
    pictures = len(truth)
    cell = truth.reshape(pictures, -1).astype(np.int64) * classes + predicted.reshape(pictures, -1)
    cell += np.arange(pictures)[:, None] * classes**2
    return np.bincount(cell.ravel(), minlength=pictures * classes**2).reshape(pictures, classes, classes)


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, 0..1."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _divide(right, confusion.sum(-1) + confusion.sum(-2) - right)


def dice(confusion: np.ndarray) -> np.ndarray:
    """Dice coefficient of each class, 0..1; the F1 score of that class by another name."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _divide(2 * right, confusion.sum(-1) + confusion.sum(-2))


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    return np.nanmean(iou(confusion), axis=-1)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """The mean of the classes' F1 scores: both species count the same, though there are twice as many dogs."""
    return np.nanmean(dice(confusion), axis=-1)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """The share on the diagonal: of pixels for a segmenter, of pictures for a classifier."""
    return _divide(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """The mean of the classes' recalls."""
    return np.nanmean(_divide(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1)), axis=-1)


def roc_curve(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates, from (0, 0) to (1, 1), one point per distinct score.

    labels: 0 or 1, (pictures,). scores: higher means label 1, (pictures,). weights: how often each picture counts.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    distinct, group = np.unique(-scores, return_inverse=True)
    positives = np.bincount(group, weights * (labels == 1), len(distinct)).cumsum()
    negatives = np.bincount(group, weights * (labels == 0), len(distinct)).cumsum()
    rates = [np.concatenate([[0.0], _divide(counts, counts[-1])]) for counts in (negatives, positives)]
    return rates[0], rates[1]


def roc_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Area under the ROC curve: the chance that a random 1 scores above a random 0, ties counting half."""
    false_positive, true_positive = roc_curve(labels, scores, weights)
    return float(np.trapezoid(true_positive, false_positive))


def resamples(pictures: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each picture is drawn, (pictures,), for each of the bootstrap samples (B. Efron, 1979)."""
    rng = np.random.default_rng(seed)
    for _ in range(samples):
        yield np.bincount(rng.integers(pictures, size=pictures), minlength=pictures)


def interval(metric: Callable[[np.ndarray], float], pictures: int, samples: int, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval, over pictures, of a metric of the pictures' weights (pictures,)."""
    values = [metric(weights) for weights in resamples(pictures, samples, seed)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(numerator, denominator)
