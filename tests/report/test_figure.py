import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor
from scipy.sparse import csr_array

from mixlab.report.axes import Axis
from mixlab.report.colours import HUES, PAGE
from mixlab.report.confusion import confusion_matrix
from mixlab.report.curves import learning_curves
from mixlab.report.forest_plot import bound_plot, dot_plot, forest_plot, pair_forest_plot
from mixlab.stats.estimate import Estimate


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_an_svg_uses_css_variables_for_all_colours(figures):
    html = "".join(figure.html() for figure in figures)
    assert not re.findall(r"#[0-9a-fA-F]{6}|rgb\(", html)


def test_an_svg_has_no_ids(figures):
    html = "".join(figure.html() for figure in figures)
    assert not re.findall(r"\bid=|href|url\(|<style|<defs|xmlns", html)


def test_an_svg_is_deterministic(figures):
    panel = figures[0].panels[0]
    assert panel.svg() == panel.svg()


def test_text_is_not_converted_to_paths_or_parsed_as_math(figures):
    assert "고양이 &lt;&amp;&gt; $x$" in texts(figures[0].panels[1].svg())


def test_the_alternative_text_of_a_panel_has_its_numbers(figures):
    assert 'aria-label="Top-1 (%): mixer 97.4 [96.8, 98.0];' in figures[4].html()


def test_a_png_shows_the_panels_side_by_side_on_a_light_background(figures, tmp_path):
    figures[0].save_png(tmp_path / "curves.png", columns=2)
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (2 * (2 * 360 + 3 * 28), 2 * (2 * 248 + 3 * 28))
        pixels = np.asarray(image.convert("RGB"))
    assert tuple(pixels[0, 0]) == ImageColor.getrgb(PAGE["ground"][0])
    assert (pixels == ImageColor.getrgb(HUES["blue"][0])).all(axis=2).any()


def test_transparent_colours_of_a_png_are_mixed_with_its_ground(figures, tmp_path):
    figures[5].save_png(tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as image:
        colours = {colour for _, colour in image.getcolors(100_000) or ()}
    ground, accent = (np.array(ImageColor.getrgb(PAGE[name][0])) for name in ("ground", "accent"))
    largest_error = tuple(np.rint(ground + (0.12 + 0.4) * (accent - ground)).astype(int).tolist())
    assert any(np.abs(np.subtract(colour, largest_error)).max() <= 1 for colour in colours)
    assert tuple(accent.tolist()) not in colours


def test_learning_curves_show_every_seed_the_means_of_the_others_and_the_last_mean(figures):
    svg = figures[0].panels[0].svg()
    assert svg.count("stroke: var(--blue)") == 3
    assert svg.count("stroke: var(--shade)") == 2
    assert "96.0" in texts(svg)


def test_a_curve_that_ends_with_nan_has_no_last_value(caplog):
    curves = {"m": [([1, 2, 3], [2.0, 1.0, float("nan")])]}
    figure = learning_curves("t", curves, models=["m"], x=Axis("Epoch"), y=Axis("Loss"))
    assert "nan" not in texts(figure.panels[0].svg())
    assert caplog.messages == []


def test_the_last_value_is_beside_the_end_of_its_curve():
    curves = {"short": [([1, 2], [2.0, 1.0])], "long": [([1, 2, 3, 4, 5], [2.0, 1.8, 1.6, 1.4, 1.2])]}
    figure = learning_curves("t", curves, models=list(curves), x=Axis("Epoch"), y=Axis("Loss", digits=1))
    places = [re.search(r'fill: var\(--ink\)" x="([\d.]+)" y="[\d.]+">1\.', panel.svg()) for panel in figure.panels]
    short, long = (float(place[1]) for place in places if place)
    assert short < long - 100


def test_a_curve_of_one_point_is_drawn_as_a_marker():
    figure = learning_curves("t", {"m": [([1], [2.0])]}, models=["m"], x=Axis("Epoch", digits=0), y=Axis("Loss"))
    svg = figure.panels[0].svg()
    assert svg.count("fill: var(--blue)") == 2  # next to the name, and in the plot
    assert "1" in texts(svg)


def test_an_axis_without_decimals_has_integer_ticks():
    assert Axis("Epoch", digits=0).ticks(1, 4) == [1, 2, 3, 4]


def test_a_cost_that_spans_a_decade_has_a_logarithmic_axis(figures):
    assert [text for text in texts(figures[1].panels[0].svg()) if text.endswith("k")] == ["1k", "2k", "5k", "10k"]


def test_an_arrow_points_to_the_better_side(figures):
    shown = texts(figures[1].panels[0].svg()) + texts(figures[1].panels[1].svg())
    assert {"Throughput (images/s) →", "← Parameters"} <= set(shown)


def test_significant_differences_are_emphasised(figures):
    svg = figures[3].panels[0].svg()
    assert svg.count("fill: var(--ink); stroke: var(--ink)") == 1
    assert svg.count("fill: var(--ground); stroke: var(--muted)") == 1


def test_the_caption_states_the_detectable_difference(figures):
    assert "differences below 0.7 points" in figures[3].caption


def test_without_a_detectable_difference_there_is_no_band():
    difference = {("a", "b"): Estimate(1.0, 0.5, 1.5, 3, "points")}
    figure = pair_forest_plot("t", difference, Axis("Difference", "points"), significant=[])
    assert "var(--raised)" not in figure.html()
    assert figure.caption == ""


def test_a_bound_beyond_five_margins_ends_with_an_arrow():
    def arrows(bound: float) -> int:
        figure = bound_plot(
            "t", {"m": bound}, Axis("At most", "points", digits=2), margin=1.0, models=["m"], notes={"m": "unstable"}
        )
        svg = figure.panels[0].svg()
        assert {f"{bound:.2f} unstable", "margin 1.00"} <= set(texts(svg))
        return svg.count("fill: var(--blue)")

    assert (arrows(4.9), arrows(5.1)) == (0, 1)


@pytest.mark.parametrize(("value", "arrows"), [(97.0, 0), (95.0, 0), (50.0, 1), (150.0, 1)])
def test_a_single_estimate_far_from_all_others_is_an_arrow_at_the_end_of_the_axis(value, arrows):
    near = {f"arm {i}": Estimate(96.0 + i, 95.5 + i, 96.5 + i, 3, "%") for i in range(3)}
    figure = forest_plot("t", {"far": Estimate(value, None, None, 3, "%"), **near}, Axis("Top-1", "%", digits=1))
    svg = figure.panels[0].svg()
    assert svg.count("fill: var(--muted); stroke: var(--muted)") == arrows
    assert ("outside the axis" in figure.caption) == bool(arrows)
    ticks = [float(text) for text in texts(svg) if text.isdigit()]
    assert min(ticks) > 90 and max(ticks) < 105
    assert f"{value:.1f}" in texts(svg)


def test_many_pairs_are_split_into_panels_with_the_same_axis():
    differences = {
        (f"m{i}", f"m{j}"): Estimate(j - i, j - i - 1, j - i + 1, 6, "points") for i in range(9) for j in range(i)
    }
    panels = pair_forest_plot("t", differences, Axis("Difference", "points"), significant=[]).panels
    ticks = [[text for text in texts(panel.svg()) if text.lstrip("−").isdigit()] for panel in panels]
    assert sum(panel.svg().count(" − ") - panel.alt.count(" − ") for panel in panels) == len(differences)
    assert len(panels) == 2
    assert ticks[0] == ticks[1] != []


def test_names_that_are_too_long_are_shortened_in_the_middle():
    small, large = (f"timm:vit_tiny_patch16_224:img_size=32:patch_size={patch}" for patch in (4, 8))
    differences = {(small, large): Estimate(1.0, 0.5, 1.5, 3, "points")}
    (panel,) = pair_forest_plot("t", differences, Axis("Difference", "points"), significant=[]).panels
    (label,) = [text for text in texts(panel.svg()) if "…" in text]
    assert "=4 − timm" in label
    assert label.endswith("=8")
    assert f"{small} − {large}" in panel.alt


def test_a_baseline_outside_the_axis_is_labelled_with_an_arrow(figures):
    assert {"near 96.0 [94.0, 97.5]", "← majority class 10.2 [7.8, 13.1]"} <= set(texts(figures[2].panels[0].svg()))


def test_equal_values_without_an_interval_are_drawn():
    estimate = Estimate(97.0, None, None, n=2, unit="%", spread=0.0)
    figure = dot_plot("t", {"m": [97.0, 97.0]}, {"m": estimate}, Axis("Top-1", "%"), models=["m"])
    assert "97.0" in texts(figure.panels[0].svg())


def test_a_confusion_matrix_shows_counts_and_leaves_empty_cells_blank(figures):
    shown = texts(figures[5].panels[0].svg())
    assert sorted(text for text in shown if text.isdigit()) == ["1", "2", "4", "5", "6"]
    assert "83 %" in shown


def test_a_count_that_is_wider_than_its_cell_has_two_digits():
    classes = [f"class {i}" for i in range(12)]
    shown = texts(confusion_matrix("t", csr_array(np.diag([2513] + 11 * [101])), classes).panels[0].svg())
    assert "2.5k" in shown and "2.51k" not in shown and "101" in shown


def test_the_recall_of_a_class_without_images_is_a_dash():
    figure = confusion_matrix("t", csr_array([[3, 0], [0, 0]]), ["a", "b"])
    assert "–" in texts(figure.panels[0].svg())


def test_for_many_classes_only_the_confusions_are_shown(figures):
    shown = texts(figures[6].panels[0].svg())
    assert [text for text in shown if "→" in text and "kind" in text] == ["kind 3 → kind 7"]


def test_intervals_count_each_image_once_for_several_trainings():
    counts = 30 * np.eye(40, dtype=int)
    counts[3, 7] = 15
    names = list(map(str, range(40)))
    once, thrice = (confusion_matrix("t", csr_array(n * counts), names, trainings=n) for n in (1, 3))
    assert once.panels[0].alt == thrice.panels[0].alt


def test_many_classes_without_a_confusion_are_reported_as_text():
    figure = confusion_matrix("t", csr_array(np.eye(40, dtype=int)), [str(index) for index in range(40)])
    assert "All 40 predictions are correct." in figure.html()


@pytest.mark.parametrize(("low", "high"), [(96.1, 98.7), (0.0, 1.0), (-1.3, 2.2), (5.0, 5.2)])
def test_a_linear_axis_has_between_three_and_seven_ticks_inside_it(low, high):
    ticks = Axis("x").ticks(low, high)
    assert 3 <= len(ticks) <= 7
    assert low <= ticks[0] < ticks[-1] <= high


def test_an_axis_in_per_cent_has_no_tick_above_100():
    assert max(Axis("x", "%").ticks(95.0, 103.0)) <= 100


def test_the_margins_of_a_logarithmic_axis_are_factors():
    low, high = replace(Axis("x"), scale="log").limits([10.0, 1000.0])
    assert low * high == pytest.approx(10_000)
