"""Grouped plots."""

import re

from mixlab.report.axes import Axis
from mixlab.report.grouped_plot import WIDTH, grouped_plot
from mixlab.stats.estimate import Estimate

GROUPS = ("original", "all pixels permuted")


def estimates(names: list[str]) -> dict[str, dict[str, Estimate]]:
    return {
        name: {
            group: Estimate(50.0 + index + place, 49.0 + index, 54.0 + index, n=3, unit="%")
            for place, group in enumerate(GROUPS)
        }
        for index, name in enumerate(names)
    }


def test_every_series_and_group_is_named_and_described():
    figure = grouped_plot(
        "Accuracy", estimates(["mixer", "resnet"]), Axis("Top-1", "%", digits=1), line=("chance", 50.0)
    )
    html = figure.html()
    assert all(text in html for text in ("mixer", "resnet", "original", "chance", "Top-1 (%)"))
    assert "mixer: original 50.0 [49.0, 54.0], all pixels permuted 51.0" in figure.panels[0].alt


def test_a_line_below_the_estimates_is_in_the_caption_and_does_not_stretch_the_axis():
    found, axis = estimates(["mixer", "resnet"]), Axis("Top-1", "%", digits=1)
    plain, far = grouped_plot("Accuracy", found, axis), grouped_plot("Accuracy", found, axis, line=("chance", 10.0))
    assert far.panels[0].png() == plain.panels[0].png()
    assert far.caption == "Chance is 10.0 %."
    named = grouped_plot("Accuracy", found, axis, line=("chance", 10.0), caption="Points are means.")
    assert named.caption == "Points are means. Chance is 10.0 %."


def test_a_long_legend_has_several_rows():
    one, many = (
        grouped_plot("Accuracy", estimates([f"model_number_{index}" for index in range(count)]), Axis("Top-1"))
        for count in (2, 12)
    )
    assert many.panels[0].height > one.panels[0].height
    positions = re.findall(r"translate\(([\d.]+) [\d.]+\)[^>]*>model_number", many.panels[0].svg())
    assert all(float(position) < WIDTH for position in positions)


def test_an_estimate_without_an_interval_is_a_point():
    single = {"mixer": {"original": Estimate(50.0, None, None, n=1, unit="%")}}
    assert "<svg" in grouped_plot("Accuracy", single, Axis("Top-1")).html()


def test_a_series_may_lack_groups():
    found = estimates(["few", "many"])
    del found["few"]["all pixels permuted"], found["many"]["original"]
    panel = grouped_plot("Accuracy", found, Axis("Top-1", digits=1)).panels[0]
    assert panel.alt.endswith("few: original 50.0 [49.0, 54.0]; many: all pixels permuted 52.0 [50.0, 55.0].")
    assert all(text in panel.svg() for text in ("original", "permuted"))
