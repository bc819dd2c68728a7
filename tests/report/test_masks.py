import re

import numpy as np

from mixlab.report.legend import Legend
from mixlab.report.masks import class_legend, coloured, error_legend, error_strip


def fills(legend: Legend) -> list[str]:
    return re.findall(r'fill="#(\w+)"', legend.html())


def test_a_legend_has_the_colours_of_coloured_masks():
    classes = [f"class {index}" for index in range(254)]
    mask = np.arange(254, dtype=np.uint8)[None]
    assert fills(class_legend(classes)) == [bytes(colour).hex() for colour in coloured(mask)[0]]


def test_a_legend_has_the_colours_of_errors():
    truth, predicted = np.array([[1, 1, 255]], dtype=np.uint8), np.array([[1, 0, 0]], dtype=np.uint8)
    errors = error_strip(coloured(truth), truth, predicted)[:, -3:]
    assert fills(error_legend()) == [bytes(colour).hex() for colour in errors[0]]


def test_names_in_a_legend_are_escaped():
    assert "<li><svg" in (html := Legend("<b>", [("a<b", (1, 2, 3))]).html())
    assert "a&lt;b" in html
    assert 'aria-label="&lt;b&gt;"' in html
