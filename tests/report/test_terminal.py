"""Plots of a curve as text."""

import pytest

from mixlab.report.axes import Axis
from mixlab.report.terminal import ASCII, BLOCKS, Glyphs, glyphs_of, terminal_curve

X, Y = Axis("Epoch"), Axis("Rate", "%")


def plot(ys: list[float], *, width: int = 14, height: int = 2, glyphs: Glyphs = BLOCKS) -> list[str]:
    curve = list(range(len(ys))), ys
    return terminal_curve(curve, x=X, y=Y, width=width, height=height, glyphs=glyphs).splitlines()


def test_columns_start_at_0_between_title_and_axis():
    assert plot([0, 1, 2, 3, 4, 5, 6, 7, 8, 16]) == [
        "Rate (%)",
        "16 │         █",
        " 0 │ ▁▂▃▄▅▆▇██",
        "   └──────────",
        "    0 Epoch  9",
    ]


def test_an_ascii_plot_has_the_same_shape():
    assert plot([0, 1, 2, 3, 4, 5, 6, 6, 6, 6], width=13, glyphs=ASCII) == [
        "Rate (%)",
        "6 |    .:####",
        "0 | .:#######",
        "  +----------",
        "   0 Epoch  9",
    ]


def test_a_long_curve_is_reduced_to_means_of_neighbours():
    assert plot([0, 2, 2, 4] * 10, width=13)[1:3] == ["4 │", "0 │██████████"]


def test_a_short_curve_fills_the_width():
    assert plot([8, 4], width=13)[1:3] == ["8 │█████", "0 │██████████"]


def test_a_small_positive_value_is_visible():
    assert plot([1e-9, 1], width=13)[2] == "0 │▁▁▁▁▁█████"


def test_a_curve_of_zeros_is_an_empty_area():
    assert plot([0, 0])[1:3] == ["0 │", "0 │"]


@pytest.mark.parametrize("width", [20, 60, 133])
def test_the_longest_line_has_the_given_width(width):
    assert max(map(len, plot([0.0003 * value for value in range(500)], width=width))) == width


@pytest.mark.parametrize(
    ("encoding", "glyphs"), [("utf-8", BLOCKS), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII), ("?", ASCII)]
)
def test_the_glyphs_depend_on_the_encoding(encoding, glyphs):
    assert glyphs_of(encoding) is glyphs
