from itertools import combinations

import numpy as np
import pytest

from mixlab.report.colours import HUES, PAGE, colour_for, marker_svg, shape_for, use_css_variables

# Machado, Oliveira and Fernandes 2009, table 1, severity 1: linear RGB as perceived by dichromats.
BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """WCAG 2: (lighter + 0.05) / (darker + 0.05) of the relative luminances."""
    darker, lighter = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (a, b))
    return (lighter + 0.05) / (darker + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    ratio = TO_XYZ @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("tone", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("hue", HUES)
def test_every_hue_has_enough_contrast_with_its_page(hue, tone):
    assert contrast(HUES[hue][tone], PAGE["ground"][tone]) >= 3


@pytest.mark.parametrize("tone", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("role", ["ink", "muted", "accent"])
@pytest.mark.parametrize("ground", ["ground", "raised"])
def test_every_text_colour_has_enough_contrast_with_its_page(role, ground, tone):
    assert contrast(PAGE[role][tone], PAGE[ground][tone]) >= 4.5


@pytest.mark.parametrize("tone", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_first_five_hues_differ_for_colour_blind_readers(kind, tone):
    perceived = [lab(np.array(BLINDNESS[kind]) @ linear(tones[tone])) for tones in list(HUES.values())[:5]]
    assert min(np.linalg.norm(a - b) for a, b in combinations(perceived, 2)) > 15


def test_colours_depend_on_the_order_of_the_names():
    names = ["mixer", "convmixer", "davit"]
    assert [colour_for(name, names) for name in names] == ["#0072b2", "#b8450f", "#0b9e74"]


def test_56_names_differ_in_colour_or_shape():
    names = [str(number) for number in range(56)]
    assert len({(colour_for(name, names), shape_for(name, names)) for name in names}) == 56


def test_all_colours_of_a_light_page_differ():
    tones = [light for light, _ in (PAGE | HUES).values()]
    assert len(set(tones)) == len(tones)


def test_a_marker_uses_the_css_variable_of_its_colour():
    assert "var(--vermilion)" in marker_svg("b", ["a", "b"])
    assert use_css_variables("fill: #0072b2") == "fill: var(--blue)"
