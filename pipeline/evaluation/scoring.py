"""From answers per picture to test metrics with intervals."""

from collections.abc import Callable

import numpy as np

from pipeline.evaluation import metrics
from pipeline.params import Evaluate
from pipeline.tasks import Task

BATCH = 64  # pictures predicted at once; the result does not depend on it

Weighted = Callable[[np.ndarray], float]  # a metric as a function of how often each picture counts, (pictures,)


def headline(task: Task, scores: dict[str, Weighted], pictures: int, params: Evaluate) -> dict[str, float]:
    """Return NAME, NAME_low and NAME_high (the 95 % interval) for each metric of a task; print a line for each."""
    result = {}
    for name in (metric.name for metric in task.metrics):
        value = float(scores[name](np.ones(pictures, np.int64)))
        low, high = metrics.interval(scores[name], pictures, params.bootstrap_samples, params.seed)
        result |= {name: value, f"{name}_low": low, f"{name}_high": high}
        print(f"{name} {value:.4f} (95 % interval {low:.4f} to {high:.4f}) on {pictures} test pictures")
    return result


def of_confusion(metric: Callable[[np.ndarray], np.ndarray], confusions: np.ndarray) -> Weighted:
    """Make a metric of a confusion matrix one of the pictures' weights.

    confusions: a matrix per picture, int (pictures, classes, classes).
    """
    flat = confusions.reshape(len(confusions), -1)
    return lambda weights: metric((weights @ flat).reshape(confusions.shape[1:]))


def in_batches(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Join what a function answers to BATCH rows at a time."""
    return np.concatenate([function(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)])


def sample(pictures: int, params: Evaluate) -> np.ndarray:
    """Draw the pictures of a grid by the seed: indices, in order."""
    return np.sort(np.random.default_rng(params.seed).permutation(pictures)[: params.grid_pictures])
