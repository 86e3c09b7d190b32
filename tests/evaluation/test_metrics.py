"""Figures of merit against hand-computed values, bootstrap intervals against the normal approximation."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.evaluation import metrics

nan = np.nan

# Truth by row, prediction by column.
MIXED = np.array([[4, 0, 2], [1, 5, 0], [0, 1, 3]])
PERFECT_WITHOUT_CONTOUR = np.diag([3, 5, 0])
CONTOUR_ONLY_PREDICTED = np.array([[3, 0, 1], [0, 4, 0], [0, 0, 0]])


def test_confusion_matrix_counts_truth_by_row_and_prediction_by_column_for_each_picture():
    truth = np.array([[[0, 1], [1, 2]], [[2, 2], [2, 2]]], np.uint8)
    predicted = np.array([[[0, 1], [2, 0]], [[2, 2], [2, 1]]], np.uint8)
    first = [[1, 0, 0], [0, 1, 1], [1, 0, 0]]
    second = [[0, 0, 0], [0, 0, 0], [0, 1, 3]]
    np.testing.assert_array_equal(metrics.confusion_matrices(truth, predicted, 3), [first, second])


def test_confusion_matrix_of_uint8_classes_does_not_overflow_at_real_picture_sizes():
    truth = np.full((1, 200, 200), 2, np.uint8)
    assert metrics.confusion_matrices(truth, truth, 3)[0, 2, 2] == 40_000
    labels = np.ones(300, np.uint8)  # more pictures than a uint8 can number
    assert metrics.confusion_matrices(labels, labels, 2).sum(0).tolist() == [[0, 0], [0, 300]]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (metrics.iou, [4 / 7, 5 / 7, 1 / 2]),
        (metrics.dice, [8 / 11, 5 / 6, 2 / 3]),
        (metrics.mean_iou, (4 / 7 + 5 / 7 + 1 / 2) / 3),
        (metrics.macro_f1, (8 / 11 + 5 / 6 + 2 / 3) / 3),
        (metrics.accuracy, 12 / 16),
        (metrics.balanced_accuracy, (4 / 6 + 5 / 6 + 3 / 4) / 3),
    ],
)
def test_metrics_of_a_mixed_matrix(metric, expected):
    np.testing.assert_allclose(metric(MIXED), expected)


def test_a_class_in_neither_truth_nor_prediction_has_no_score_and_a_perfect_picture_without_it_scores_one():
    np.testing.assert_array_equal(metrics.iou(PERFECT_WITHOUT_CONTOUR), [1, 1, nan])
    np.testing.assert_array_equal(metrics.dice(PERFECT_WITHOUT_CONTOUR), [1, 1, nan])
    for mean in (metrics.mean_iou, metrics.macro_f1, metrics.balanced_accuracy, metrics.accuracy):
        assert mean(PERFECT_WITHOUT_CONTOUR) == 1.0


def test_a_class_that_is_only_predicted_scores_zero_overlap_but_has_no_recall():
    np.testing.assert_allclose(metrics.iou(CONTOUR_ONLY_PREDICTED), [3 / 4, 1, 0])
    np.testing.assert_allclose(metrics.mean_iou(CONTOUR_ONLY_PREDICTED), (3 / 4 + 1) / 3)
    np.testing.assert_allclose(metrics.balanced_accuracy(CONTOUR_ONLY_PREDICTED), (3 / 4 + 1) / 2)


def test_a_stack_of_matrices_gives_the_stack_of_their_results() -> None:
    matrices = [MIXED, PERFECT_WITHOUT_CONTOUR, CONTOUR_ONLY_PREDICTED, MIXED.T]
    for metric in (metrics.iou, metrics.dice, metrics.accuracy, metrics.balanced_accuracy):
        stacked = metric(np.reshape(matrices, (2, 2, 3, 3)))
        np.testing.assert_array_equal(stacked.reshape(4, -1), np.reshape([metric(one) for one in matrices], (4, -1)))


def test_roc_auc_is_the_share_of_pairs_in_the_right_order_each_as_often_as_its_pictures_count() -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.4])
    # Of the 4 pairs 2 are in the right order, one is a tie, (0.4, 0.35) is in the wrong one.
    assert metrics.roc_auc(labels, scores, np.array([1, 1, 1, 1])) == pytest.approx(2.5 / 4)
    assert metrics.roc_auc(labels, scores, np.array([1, 3, 1, 0])) == pytest.approx(1 / 4)
    assert np.isnan(metrics.roc_auc(labels, scores, np.array([2, 2, 0, 0]))), "there is no pair"


def share_right(right: np.ndarray) -> Callable[[np.ndarray], float]:
    """Accuracy as a function of the pictures' weights."""
    return lambda weights: float(weights @ right / weights.sum())


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    metric = share_right(np.random.default_rng(0).random(101))
    assert metrics.interval(metric, 101, 200, seed=1) == metrics.interval(metric, 101, 200, seed=1)
    assert metrics.interval(metric, 101, 200, seed=1) != metrics.interval(metric, 101, 200, seed=2)


@pytest.mark.parametrize("pictures", [100, 400])
def test_the_interval_of_an_accuracy_agrees_with_the_normal_approximation(pictures: int) -> None:
    right = np.arange(pictures) % 5 > 0  # 80 %
    low, high = metrics.interval(share_right(right), pictures, 4000, seed=0)
    half_width = 1.96 * np.sqrt(0.8 * 0.2 / pictures)  # 0.078, 0.039
    # Tolerance: half the lattice of 1/400 (0.0013), skewness of the binomial (0.0007), and three deviations of a 2.5 %
    # percentile of 4,000 draws (0.0025). 90 or 99 % intervals would be off by 0.006 and 0.012.
    assert (low, high) == pytest.approx((0.8 - half_width, 0.8 + half_width), abs=0.0045 * 400 / pictures)


def test_resamples_in_which_the_metric_has_no_value_are_left_out_of_the_interval() -> None:
    labels, scores = np.array([0, 1, 1]), np.array([0.2, 0.1, 0.9])  # (2/3) ** 3 = 30 % of the resamples lack the cat
    low, high = metrics.interval(lambda weights: metrics.roc_auc(labels, scores, weights), 3, 100, seed=0)
    assert 0 <= low < high <= 1
