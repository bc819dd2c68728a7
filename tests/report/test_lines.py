"""Figures of lines."""

from PIL import Image

from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.lines import FRONTIER, LineLegend, line_panel
from mixlab.stats.estimate import Estimate

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


def test_a_long_legend_has_several_rows():
    names = [f"model_number_{index}" for index in range(12)]
    assert LineLegend(names, names).panel(360).height > LineLegend(names, names).panel(2000).height
