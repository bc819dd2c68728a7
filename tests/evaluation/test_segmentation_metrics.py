"""Metrics of masks: boundaries, sums over images, and bootstrap intervals."""

import numpy as np
import pytest

from mixlab.data.mask_file import IGNORED
from mixlab.evaluation.segmentation_metrics import SegmentationScores, boundary, pixel_counts

CLASSES = ("ground", "square")


def square(top: int, left: int, side: int = 20) -> np.ndarray:
    mask = np.zeros((60, 80), dtype=np.int64)
    mask[top : top + side, left : left + side] = 1
    return mask


def scores(*pairs: tuple[np.ndarray, np.ndarray]) -> SegmentationScores:
    return SegmentationScores(CLASSES, np.stack([pixel_counts(truth, predicted, 2) for truth, predicted in pairs]))


def test_a_perfect_prediction_has_all_metrics_at_100():
    summary = scores((square(5, 5), square(5, 5))).summary
    assert {key: estimate.value for key, estimate in summary.items()} == {
        "miou": 100,
        "boundary_f1": 100,
        "pixel_accuracy": 100,
    }


def test_a_shift_within_the_tolerance_keeps_the_boundary_and_a_larger_one_does_not():
    tolerance = round(0.0075 * np.hypot(60, 80))
    near = scores((square(5, 5), square(5, 5 + tolerance))).summary["boundary_f1"].value
    far = scores((square(5, 5), square(30, 40))).summary["boundary_f1"].value
    assert near == 100
    assert far < 20


def test_the_iou_of_a_class_is_that_of_all_pixels_of_all_images():
    pairs = [(square(5, 5), square(5, 15)), (square(0, 0), square(0, 0, side=10))]
    rows = scores(*pairs).by_class()
    hits = sum(((truth == 1) & (predicted == 1)).sum() for truth, predicted in pairs)
    union = sum(((truth == 1) | (predicted == 1)).sum() for truth, predicted in pairs)
    assert rows[1].iou is not None
    assert rows[1].iou.value == pytest.approx(100 * hits / union)
    assert rows[0].share + rows[1].share == pytest.approx(100)


def test_ignored_pixels_count_nowhere_and_make_no_boundary():
    truth = square(5, 5)
    truth[:, 30:] = IGNORED
    predicted = square(5, 5)
    predicted[40:, 50:] = 1
    summary = scores((truth, predicted)).summary
    assert summary["pixel_accuracy"].value == summary["miou"].value == summary["boundary_f1"].value == 100
    assert not boundary(truth)[:, 30:].any()
    assert not boundary(truth)[40:, 29].any()


def test_found_boundary_pixels_are_those_with_a_pixel_of_the_same_class_in_the_square_around():
    rng = np.random.default_rng(0)
    truth, predicted = (np.kron(rng.integers(0, 150, (6, 8)), np.ones((10, 10), dtype=np.int64)) for _ in range(2))
    predicted[:, 20:60] = np.roll(truth, 1, axis=1)[:, 20:60]
    counts = pixel_counts(truth, predicted, 150)
    radius = round(0.0075 * np.hypot(60, 80))
    expected = np.zeros(150, dtype=np.int64)
    edges, true_edges = boundary(predicted), boundary(truth)
    for row, column in np.argwhere(edges):
        window = np.s_[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1]
        index = predicted[row, column]
        expected[index] += (true_edges[window] & (truth[window] == index)).any()
    np.testing.assert_array_equal(counts[3], expected)
    assert 0 < counts[3].sum() < counts[4].sum() == edges.sum()


def test_intervals_contain_the_value_and_are_missing_for_a_single_image():
    pairs = [(square(5, 5), square(5, 5 + shift)) for shift in range(0, 20, 2)]
    for estimate in scores(*pairs).summary.values():
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high
    assert scores(pairs[1]).summary["miou"].low is None


def test_a_class_without_pixels_has_no_metrics_and_is_not_in_the_mean():
    empty = np.zeros((60, 80), dtype=np.int64)
    result = scores((empty, empty))
    assert result.by_class()[1].iou is None
    assert result.summary["miou"].value == 100
