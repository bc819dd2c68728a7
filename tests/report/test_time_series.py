"""Panels under one axis of time."""

import math
import re

import pytest

from mixlab.report.axes import Axis
from mixlab.report.time_series import POINTS, SeriesPanel, thinned, time_series


def drawn(course: SeriesPanel, end: float = 10.0) -> str:
    return time_series("Title", [course], x=Axis("Epoch"), end=end).panels[0].svg()


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_a_short_line_is_drawn_as_it_is():
    assert thinned(([1.0, 2.0], [3.0, 4.0])) == ([1.0, 2.0], [3.0, 4.0])


def test_a_long_line_becomes_the_means_of_neighbours():
    assert thinned(([0, 1, 2, 3, 4], [0, 2, 4, 6, 8]), points=2) == ([0.5, 3.0], [1.0, 6.0])


def test_a_line_of_any_length_has_at_most_as_many_points_as_are_seen():
    values = list(range(20_001))
    assert len(thinned((values, values))[0]) == POINTS


def test_what_is_no_number_is_left_out():
    assert thinned(([1, 2, 3], [1.0, math.nan, math.inf])) == ([1.0], [1.0])


def test_each_line_says_its_last_value_and_two_that_end_together_stand_apart():
    svg = drawn(SeriesPanel(Axis("Top-1", "%", digits=1), {"a": ([1, 10], [5, 90.0]), "b": ([1, 10], [5, 90.2])}))
    assert {"90.0", "90.2", "a", "b", "Top-1 (%)"} <= set(texts(svg))
    heights = [float(re.search(rf'y="([\d.]+)"[^>]*>{text}<', svg)[1]) for text in ("90.0", "90.2")]  # pyright: ignore
    assert abs(heights[0] - heights[1]) >= 13.9


def test_what_lies_behind_is_grey():
    svg = drawn(SeriesPanel(Axis("Loss"), {"a": ([1, 2], [2.0, 1.0])}, background=([1, 2], [3.0, 0.0])))
    assert svg.count("stroke: var(--shade)") == 1


def test_an_axis_reaches_what_it_has_to_hold():
    assert "100" in texts(drawn(SeriesPanel(Axis("Waiting", "%"), {"a": ([1, 2], [3.0, 4.0])}, include=(0, 100))))


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_a_panel_without_a_number_is_drawn_empty(values):
    assert "nothing yet" in drawn(SeriesPanel(Axis("Loss"), {"a": ([1.0][: len(values)], values)}))
