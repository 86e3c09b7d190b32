"""Figures of merit against hand-computed values, bootstrap intervals against the normal approximation."""

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
    many = np.full((300, 200, 20), 2, np.uint8)  # more pictures, and pixels of one, than a uint8 can count
    assert (metrics.confusion_matrices(many, many, 3)[:, 2, 2] == 4000).all()


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


def test_a_class_that_is_not_in_the_truth_has_no_score_or_where_it_is_predicted_a_zero():
    np.testing.assert_array_equal(metrics.iou(PERFECT_WITHOUT_CONTOUR), [1, 1, nan])
    np.testing.assert_array_equal(metrics.dice(PERFECT_WITHOUT_CONTOUR), [1, 1, nan])
    for mean in (metrics.mean_iou, metrics.macro_f1, metrics.balanced_accuracy, metrics.accuracy):
        assert mean(PERFECT_WITHOUT_CONTOUR) == 1.0
    # One that is only predicted overlaps nothing, and has no recall.
    np.testing.assert_allclose(metrics.iou(CONTOUR_ONLY_PREDICTED), [3 / 4, 1, 0])
    np.testing.assert_allclose(metrics.mean_iou(CONTOUR_ONLY_PREDICTED), (3 / 4 + 1) / 3)
    np.testing.assert_allclose(metrics.balanced_accuracy(CONTOUR_ONLY_PREDICTED), (3 / 4 + 1) / 2)


def test_roc_auc_is_the_share_of_pairs_in_the_right_order_each_as_often_as_its_pictures_count() -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.4])
    # Of the 4 pairs 2 are in the right order, one is a tie, (0.4, 0.35) is in the wrong one.
    assert metrics.roc_auc(labels, scores, np.array([1, 1, 1, 1])) == pytest.approx(2.5 / 4)
    assert metrics.roc_auc(labels, scores, np.array([1, 3, 1, 0])) == pytest.approx(1 / 4)
    assert np.isnan(metrics.roc_auc(labels, scores, np.array([2, 2, 0, 0]))), "there is no pair"


@pytest.mark.parametrize("pictures", [100, 400])
def test_the_interval_of_an_accuracy_agrees_with_the_normal_approximation(pictures: int) -> None:
    right = np.arange(pictures) % 5 > 0  # 80 %
    low, high = metrics.interval(lambda weights: weights @ right / pictures, pictures, 4000, seed=0)
    half_width = 1.96 * np.sqrt(0.8 * 0.2 / pictures)  # 0.078, 0.039
    # Tolerance: half the lattice of 1/400 (0.0013), skewness of the binomial (0.0007), and three deviations of a 2.5 %
    # percentile of 4,000 draws (0.0025). 90 or 99 % intervals would be off by 0.006 and 0.012.
    assert (low, high) == pytest.approx((0.8 - half_width, 0.8 + half_width), abs=0.0045 * 400 / pictures)


def test_resamples_in_which_the_metric_has_no_value_are_left_out_of_the_interval() -> None:
    labels, scores = np.array([0, 1, 1]), np.array([0.2, 0.1, 0.9])  # (2/3) ** 3 = 30 % of the resamples lack the cat
    low, high = metrics.interval(lambda weights: metrics.roc_auc(labels, scores, weights), 3, 100, seed=0)
    assert 0 <= low < high <= 1
