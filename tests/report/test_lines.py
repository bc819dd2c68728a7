"""Figures of lines."""

import pytest
from matplotlib.figure import Figure as Canvas
from PIL import Image

from mixlab.report.axes import PANEL_WIDTH, Axis
from mixlab.report.figure import Figure
from mixlab.report.lines import FRONTIER, LineLegend, _moved, _offsets, line_panel
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval

NAMES = ("mixer", "resnet")


def figure(legend: LineLegend | None = None) -> Figure:
    lines = {name: [(x, Estimate.exact(x + place, "")) for x in (1, 2)] for place, name in enumerate(NAMES)}
    panels = [line_panel(lines, Axis("Size"), Axis(label), names=NAMES) for label in ("Time", "Memory")]
    return Figure("Cost", panels, legend=legend)


def test_the_panels_of_a_figure_share_one_legend():
    html = figure(legend=LineLegend(["resnet"], NAMES)).html()
    assert html.count("<li>") == 1
    assert html.index("</figcaption>") < html.index("resnet</li>") < html.index('class="panel"')
    assert "var(--vermilion)" in html[: html.index("resnet</li>")]  # the colour of its line
    assert ">resnet</text>" not in html


def test_a_frontier_in_a_legend_has_no_marker():
    html = LineLegend([*NAMES, FRONTIER], NAMES).html()
    assert html.count("<polygon") == 2
    assert "frontier</li>" in html


def test_a_png_has_the_legend_above_the_panels(tmp_path):
    figure().save_png(tmp_path / "without.png")
    figure(legend=LineLegend(NAMES, NAMES)).save_png(tmp_path / "with.png")
    with Image.open(tmp_path / "without.png") as without, Image.open(tmp_path / "with.png") as found:
        assert found.size[0] == without.size[0] and found.size[1] > without.size[1]
        above = found.crop((0, 0, found.size[0], found.size[1] - without.size[1]))
        assert {(0, 114, 178), (184, 69, 15)} <= {colour for _, colour in above.getcolors(10_000) or ()}


def test_intervals_at_the_same_x_are_drawn_side_by_side_on_any_scale():
    y = mean_interval([1.0, 2.0, 3.0], "")
    lines = {"a": [(1.0, y), (10.0, y)], "b": [(1.0, y), (5.0, y)], "c": [(10.0, Estimate.exact(2.0, ""))]}
    offsets = _offsets(lines)
    assert offsets == {("a", 1): -2.5, ("b", 1): 2.5, ("a", 10): 0, ("b", 5): 0, ("c", 10): 0}
    for scale in ("linear", "log"):
        axes = Canvas().subplots()
        axes.set(xscale=scale, xlim=(0.5, 20), ylim=(0, 4))
        moved = _moved(axes, 3.0, 40)
        width = axes.transAxes.transform((1, 0))[0] - axes.transAxes.transform((0, 0))[0]
        pixels = axes.transData.transform((moved, 0))[0] - axes.transData.transform((3.0, 0))[0]
        assert pixels / width == pytest.approx(40 / (PANEL_WIDTH - 46))


def test_panels_side_by_side_can_have_the_same_y_axis():
    small, large = ({"mixer": [(x, Estimate.exact(y, "")) for x in (1.0, 2.0)]} for y in (1.0, 100.0))
    tops = []
    for beside in ([], [large]):
        canvas = Canvas(figsize=(4, 3))
        line_panel(small, Axis("Size"), Axis("Time"), names=NAMES, beside=beside).draw(canvas)
        tops.append(canvas.axes[0].get_ylim()[1])
    assert tops[0] < 100 <= tops[1]


def test_a_long_legend_has_several_rows():
    names = [f"model_number_{index}" for index in range(12)]
    assert LineLegend(names, names).panel(360).height > LineLegend(names, names).panel(2000).height
