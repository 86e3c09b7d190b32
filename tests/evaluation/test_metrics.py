"""Figures of merit against hand-computed values and against definitions that are slow but plain."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import metrics

nan = np.nan
quickly = settings(max_examples=50, deadline=None, derandomize=True)

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


@quickly
@given(arrays.arrays(np.uint8, (2, 7, 3, 2), elements=st.integers(0, 2)))
def test_the_sum_over_pictures_is_the_matrix_of_all_pixels(masks):
    truth, predicted = masks
    total = metrics.confusion_matrices(truth.reshape(1, -1), predicted.reshape(1, -1), 3)[0]
    np.testing.assert_array_equal(metrics.confusion_matrices(truth, predicted, 3).sum(0), total)
    assert total.sum() == truth.size


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


@pytest.mark.parametrize(
    "metric",
    [
        metrics.iou,
        metrics.dice,
        metrics.mean_iou,
        metrics.macro_f1,
        metrics.accuracy,
        metrics.balanced_accuracy,
    ],
)
def test_a_stack_of_matrices_gives_the_stack_of_their_results(metric):
    matrices = [MIXED, PERFECT_WITHOUT_CONTOUR, CONTOUR_ONLY_PREDICTED, MIXED.T]
    stacked = metric(np.reshape(matrices, (2, 2, 3, 3)))
    one_by_one = [metric(matrix) for matrix in matrices]
    np.testing.assert_array_equal(stacked.reshape(4, -1), np.reshape(one_by_one, (4, -1)))


@pytest.mark.parametrize(
    ("labels", "scores", "area"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], 1.0),
        ([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.4], 0.0),
        ([0, 1, 0, 1, 1], [0.7] * 5, 0.5),
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 3 / 4),  # of the 4 pairs, only (0.4, 0.35) is in the wrong order
        ([0, 1, 1, 0], [0.5, 0.5, 0.9, 0.1], 3.5 / 4),  # one tie
    ],
    ids=["perfect", "reversed", "constant", "one pair wrong", "one tie"],
)
def test_roc_auc_by_hand(labels, scores, area):
    assert metrics.roc_auc(np.array(labels), np.array(scores)) == pytest.approx(area)


def test_roc_curve_steps_at_each_distinct_score_and_cuts_the_corner_at_a_tie():
    false_positive, true_positive = metrics.roc_curve(np.array([0, 1, 1, 0]), np.array([0.5, 0.5, 0.9, 0.1]))
    assert false_positive.tolist() == [0, 0, 0.5, 1]
    assert true_positive.tolist() == [0, 0.5, 1, 1]


def test_roc_auc_of_a_single_class_is_nan():
    assert np.isnan(metrics.roc_auc(np.array([1, 1]), np.array([0.2, 0.9])))


scores = st.lists(st.integers(0, 6), min_size=1, max_size=12)  # few values: ties are common
counted_scores = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=12).filter(
    lambda pictures: any(count for _, count in pictures)
)


@quickly
@given(scores, scores)
def test_roc_auc_is_the_share_of_pairs_in_the_right_order(cats, dogs):
    pairs = [(dog > cat) + 0.5 * (dog == cat) for cat in cats for dog in dogs]
    labels = np.repeat([0, 1], [len(cats), len(dogs)])
    assert metrics.roc_auc(labels, np.array(cats + dogs)) == pytest.approx(np.mean(pairs))


@quickly
@given(counted_scores, counted_scores)
def test_a_picture_of_weight_n_counts_as_n_pictures_in_roc_auc(cats, dogs):
    labels = np.repeat([0, 1], [len(cats), len(dogs)])
    values, weights = np.array(cats + dogs).T
    repeated = metrics.roc_auc(np.repeat(labels, weights), np.repeat(values, weights))
    assert metrics.roc_auc(labels, values, weights) == pytest.approx(repeated)


def test_a_resample_draws_as_many_pictures_as_there_are_with_replacement():
    drawn = np.array(list(metrics.resamples(pictures=50, samples=200, seed=0)))
    assert drawn.shape == (200, 50)
    assert (drawn.sum(1) == 50).all()
    # A picture is left out with (1 - 1/50) ** 50 = 0.364; the mean of 200 x 50 such draws has a deviation below 0.005.
    assert np.mean(drawn == 0) == pytest.approx(0.364, abs=0.02)


def share_right(right):
    """Accuracy as a function of the pictures' weights."""
    return lambda weights: float(weights @ right / weights.sum())


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    metric = share_right(np.random.default_rng(0).random(101))
    assert metrics.interval(metric, 101, 200, seed=1) == metrics.interval(metric, 101, 200, seed=1)
    assert metrics.interval(metric, 101, 200, seed=1) != metrics.interval(metric, 101, 200, seed=2)


def test_the_interval_contains_the_estimate_and_shrinks_with_the_root_of_the_number_of_pictures():
    widths = []
    for pictures in (100, 1600):
        right = np.arange(pictures) % 10 < 7
        low, high = metrics.interval(share_right(right), pictures, 1000, seed=0)
        assert low < 0.7 < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.15)


def test_the_interval_of_a_metric_that_does_not_vary_has_no_width():
    assert metrics.interval(share_right(np.ones(30)), 30, 100, seed=0) == (1.0, 1.0)


def test_the_interval_of_an_accuracy_agrees_with_the_normal_approximation():
    right = np.arange(400) % 5 > 0  # 80 %
    low, high = metrics.interval(share_right(right), 400, 4000, seed=0)
    half_width = 1.96 * np.sqrt(0.8 * 0.2 / 400)  # 0.039
    # Tolerance: half the lattice of 1/400 (0.0013), skewness of the binomial (0.0007), and three deviations of a 2.5 %
    # percentile of 4,000 draws (0.0025). 90 or 99 % intervals would be off by 0.006 and 0.012.
    assert (low, high) == pytest.approx((0.8 - half_width, 0.8 + half_width), abs=0.0045)


def test_resamples_in_which_the_metric_has_no_value_are_left_out_of_the_interval():
    labels, scores = np.array([0, 1, 1]), np.array([0.2, 0.1, 0.9])  # (2/3) ** 3 = 30 % of the resamples lack the cat
    low, high = metrics.interval(lambda weights: metrics.roc_auc(labels, scores, weights), 3, 100, seed=0)
    assert 0 <= low < high <= 1
