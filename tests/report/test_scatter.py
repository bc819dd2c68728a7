"""Scatter plots: a marker per point, a legend of the groups that are shown, and labels for some points."""

from xml.etree import ElementTree

from matplotlib.figure import Figure as Canvas

from mixlab.report.axes import Axis
from mixlab.report.scatter import Point, scatter_panel

POINTS = [
    Point("ours", "mlp", 1.0, 80.0, is_labelled=True),
    Point("theirs", "attention", 2.0, 81.0, is_labelled=False),
    Point("another", "attention", 40.0, 82.5, is_labelled=False),
]
GROUPS = ("mlp", "convolution", "attention")


def panel():
    return scatter_panel(POINTS, Axis("speed", "images/s", better="higher"), Axis("top-1", "%"), GROUPS)


def texts() -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(panel().svg()).iter() if element.tag == "text"]


def test_only_the_labelled_points_have_a_name():
    assert "ours" in texts() and "theirs" not in texts()


def test_the_legend_has_the_groups_that_have_points():
    assert {"mlp", "attention"} <= set(texts()) and "convolution" not in texts()


def test_the_alternative_text_has_all_points():
    assert (
        panel().alt == "top-1 (%) against speed (images/s): ours 80.0 at 1.0; theirs 81.0 at 2.0; another 82.5 at 40.0."
    )


def test_a_tick_at_the_end_of_the_axis_is_within_the_panel(monkeypatch):
    save, edges = Canvas.savefig, []

    def measure(canvas: Canvas, *args: object, **named: object) -> None:
        for axes in canvas.axes:
            edges.extend((canvas.bbox.x1, label.get_window_extent().x1) for label in axes.get_xticklabels())
        save(canvas, *args, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Canvas, "savefig", measure)
    points = [Point("small", "mlp", 18.5, 80.0, is_labelled=True), Point("large", "mlp", 640.0, 85.0, is_labelled=True)]
    assert ">1,000<" in scatter_panel(points, Axis("parameters", "M", better="lower"), Axis("top-1", "%"), GROUPS).svg()
    assert all(edge <= width for width, edge in edges)
