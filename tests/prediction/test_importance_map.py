"""The grid of an importance map and its pixels."""

import numpy as np
import pytest

from mixlab.prediction.importance_map import ImportanceMap, equal_spans


def test_a_pixel_has_the_mean_value_of_the_cells_that_contain_it():
    values = np.array([[1.0, 3.0, 5.0]])
    pixels = ImportanceMap("occlusion", values, ((0, 2),), ((0, 2), (1, 3), (2, 4))).pixels()
    assert pixels.tolist() == [[1, 2, 4, 5]] * 2


def test_the_most_important_box_is_the_cell_with_the_largest_value_as_left_upper_right_lower():
    values = np.array([[1.0, 2.0], [7.0, -9.0], [0.0, 0.0]])
    found = ImportanceMap("grad-cam", values, equal_spans(12, 3), equal_spans(20, 2))
    assert found.most_important_box == (0, 4, 10, 8)
    assert found.largest == 7


@pytest.mark.parametrize(("side", "cells"), [(224, 7), (10, 3), (5, 5), (1, 1)])
def test_equal_spans_cover_a_side_without_gaps(side, cells):
    spans = equal_spans(side, cells)
    assert [pixel for start, end in spans for pixel in range(start, end)] == list(range(side))
    assert max(end - start for start, end in spans) - min(end - start for start, end in spans) <= 1


def test_the_stored_values_are_unrounded():
    values = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    stored = ImportanceMap("occlusion", values, equal_spans(4, 2), equal_spans(6, 3)).to_dict()
    assert np.array_equal(np.array(stored["values"], dtype=np.float32), values)
    assert stored["quantity"] == "drop in log-odds, nats"
    assert stored["rows"] == [[0, 2], [2, 4]]
