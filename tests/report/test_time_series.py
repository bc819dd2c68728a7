"""Panels with the same time axis."""

import math
import re

import pytest

from mixlab.report.axes import Axis
from mixlab.report.time_series import MAX_POINTS, SeriesPanel, downsample, time_series


def draw(panel: SeriesPanel, end: float = 10.0) -> str:
    return time_series("Title", [panel], x=Axis("Epoch"), end=end).panels[0].svg()


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_a_short_line_is_not_downsampled():
    assert downsample(([1.0, 2.0], [3.0, 4.0])) == ([1.0, 2.0], [3.0, 4.0])


def test_a_long_line_is_reduced_to_means_of_neighbours():
    assert downsample(([0, 1, 2, 3, 4], [0, 2, 4, 6, 8]), points=2) == ([0.5, 3.0], [1.0, 6.0])


def test_a_line_has_at_most_the_maximum_number_of_points():
    values = list(range(20_001))
    assert len(downsample((values, values))[0]) == MAX_POINTS


def test_nan_and_infinite_values_are_removed():
    assert downsample(([1, 2, 3], [1.0, math.nan, math.inf])) == ([1.0], [1.0])


def test_each_line_is_labelled_with_its_last_value_and_labels_do_not_overlap():
    svg = draw(SeriesPanel(Axis("Top-1", "%", digits=1), {"a": ([1, 10], [5, 90.0]), "b": ([1, 10], [5, 90.2])}))
    assert {"90.0", "90.2", "a", "b", "Top-1 (%)"} <= set(texts(svg))
    heights = [float(re.search(rf'y="([\d.]+)"[^>]*>{text}<', svg)[1]) for text in ("90.0", "90.2")]  # pyright: ignore
    assert abs(heights[0] - heights[1]) >= 13.9


def test_the_background_is_grey():
    svg = draw(SeriesPanel(Axis("Loss"), {"a": ([1, 2], [2.0, 1.0])}, background=([1, 2], [3.0, 0.0])))
    assert svg.count("stroke: var(--shade)") == 1


def test_an_axis_contains_the_included_values():
    assert "100" in texts(draw(SeriesPanel(Axis("Waiting", "%"), {"a": ([1, 2], [3.0, 4.0])}, include=(0, 100))))


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_a_panel_without_values_is_empty(values):
    assert "no values yet" in draw(SeriesPanel(Axis("Loss"), {"a": ([1.0][: len(values)], values)}))
