"""A curve in text."""

import pytest

from mixlab.report.axes import Axis
from mixlab.report.terminal import ASCII, BLOCKS, Glyphs, glyphs_of, terminal_curve

X, Y = Axis("Epoch"), Axis("Rate", "%")


def drawn(ys: list[float], *, width: int = 14, height: int = 2, glyphs: Glyphs = BLOCKS) -> list[str]:
    curve = list(range(len(ys))), ys
    return terminal_curve(curve, x=X, y=Y, width=width, height=height, glyphs=glyphs).splitlines()


def test_columns_stand_on_zero_under_the_title_and_over_the_axis():
    assert drawn([0, 1, 2, 3, 4, 5, 6, 7, 8, 16]) == [
        "Rate (%)",
        "16 │         █",
        " 0 │ ▁▂▃▄▅▆▇██",
        "   └──────────",
        "    0 Epoch  9",
    ]


def test_a_terminal_that_has_ascii_alone_sees_the_same_course():
    assert drawn([0, 1, 2, 3, 4, 5, 6, 6, 6, 6], width=13, glyphs=ASCII) == [
        "Rate (%)",
        "6 |    .:####",
        "0 | .:#######",
        "  +----------",
        "   0 Epoch  9",
    ]


def test_a_long_curve_is_shown_by_the_means_of_neighbours():
    assert drawn([0, 2, 2, 4] * 10, width=13)[1:3] == ["4 │", "0 │██████████"]


def test_a_short_one_fills_the_width():
    assert drawn([8, 4], width=13)[1:3] == ["8 │█████", "0 │██████████"]


def test_whatever_is_more_than_nothing_is_seen():
    assert drawn([1e-9, 1], width=13)[2] == "0 │▁▁▁▁▁█████"


def test_a_curve_of_zeros_is_an_empty_area():
    assert drawn([0, 0])[1:3] == ["0 │", "0 │"]


@pytest.mark.parametrize("width", [20, 60, 133])
def test_no_line_is_wider_than_asked_for(width):
    assert max(map(len, drawn([0.0003 * value for value in range(500)], width=width))) == width


@pytest.mark.parametrize(
    ("encoding", "glyphs"), [("utf-8", BLOCKS), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII), ("?", ASCII)]
)
def test_an_encoding_decides_what_can_be_shown(encoding, glyphs):
    assert glyphs_of(encoding) is glyphs
