"""Metrics from confusion matrices, with bootstrap intervals.

A confusion matrix counts truth by row and prediction by column. Every function takes (..., classes, classes) and works
on the last two axes, so that a stack of resampled matrices gives a stack of results. A class that occurs neither in the
truth nor in the prediction has no IoU and no Dice: nan, left out of means.
"""

from collections.abc import Callable

import numpy as np


def confusion_matrices(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return one matrix per picture: integer classes (pictures, ...) twice -> int64 (pictures, classes, classes)."""
    pictures = len(truth)
    cell = truth.reshape(pictures, -1).astype(np.int64) * classes + predicted.reshape(pictures, -1)
    cell += np.arange(pictures)[:, None] * classes**2
    return np.bincount(cell.ravel(), minlength=pictures * classes**2).reshape(pictures, classes, classes)


def iou(confusion: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each class, 0..1."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _divide(right, confusion.sum(-1) + confusion.sum(-2) - right)


def dice(confusion: np.ndarray) -> np.ndarray:
    """Return the Dice coefficient of each class, 0..1; the F1 score of that class by another name."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _divide(2 * right, confusion.sum(-1) + confusion.sum(-2))


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    return np.nanmean(iou(confusion), axis=-1)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Return the mean of the classes' F1 scores: both species count the same, with twice as many dogs."""
    return np.nanmean(dice(confusion), axis=-1)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return the share on the diagonal: of pixels for a segmenter, of pictures for a classifier."""
    return _divide(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return the mean of the classes' recalls."""
    return np.nanmean(_divide(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1)), axis=-1)


def roc_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Return the area under the ROC curve: the chance that a random 1 scores above a random 0, ties counting half.

    labels: 0 or 1, (pictures,). scores: higher means label 1, (pictures,). weights: how often each picture counts.
    nan where only one label counts. scikit-learn's takes 1.6 s for 1,000 resamples of 238 pictures.
    """
    _, rank = np.unique(scores, return_inverse=True)
    zeros, ones = (np.bincount(rank, weights * (labels == label)) for label in (0, 1))
    return float(_divide(ones @ (np.cumsum(zeros) - zeros / 2), ones.sum() * zeros.sum()))


def interval(metric: Callable[[np.ndarray], float], pictures: int, samples: int, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval (B. Efron, 1979) of a metric of the pictures' weights.

    metric: of how often each picture is drawn, (pictures,). nan is left out.
    """
    rng = np.random.default_rng(seed)
    draws = (np.bincount(rng.integers(pictures, size=pictures), minlength=pictures) for _ in range(samples))
    low, high = np.nanpercentile([metric(weights) for weights in draws], [2.5, 97.5])
    return float(low), float(high)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(numerator, denominator)
