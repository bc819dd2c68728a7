"""The names of classes and their order."""

import math
from datetime import date
from decimal import Decimal
from itertools import permutations

import numpy as np
import pytest
from PIL import Image

from mixlab.data.class_order import class_name, class_order
from mixlab.data.sources import open_as_provided
from mixlab.errors import UserError


@pytest.mark.parametrize(
    "ordered",
    [
        ("0", "1", "2", "10"),
        ("01", "1", "2"),
        ("-1", "0", "0.5", "1"),
        ("0", "1", "10", "2", "cat"),
        ("Dog", "cat", "dog", "élan"),
    ],
)
def test_the_order_depends_on_the_names_alone(ordered):
    assert {class_order(names) for names in permutations(ordered)} == {ordered}


@pytest.mark.parametrize(
    ("label", "name"),
    [
        (" cat\n", "cat"),
        ("1.0", "1.0"),
        ("e\u0301lan", "élan"),
        (7, "7"),
        (7.0, "7"),
        (True, "True"),
        (1e20, "100000000000000000000"),
        (None, ""),
        (math.nan, ""),
        ("  ", ""),
    ],
)
def test_labels_of_plain_types_are_named(label, name):
    assert class_name(label, "row 3") == name


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ([0, 1], "row 3 is multi-label, with the classes [0, 1]: each image must have one class, so keep one."),
        ("cat\ndog", "row 3 is multi-label, with the classes 'cat\\ndog': each image"),
        ({"cat": 1}, "row 3 is multi-label, with the classes {'cat': 1}: each image"),
        (0.5, "row 3 has the class 0.5 (float): it must be text, a whole number or a boolean."),
        (math.inf, "row 3 has the class inf (float)"),
        (b"cat", "row 3 has the class b'cat' (bytes)"),
        (Decimal(1), "row 3 has the class Decimal('1') (Decimal)"),
        (date(2020, 1, 1), "row 3 has the class datetime.date(2020, 1, 1) (date)"),
    ],
)
def test_other_labels_are_refused(label, sentence):
    with pytest.raises(UserError) as caught:
        class_name(label, "row 3")
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("names", [("0", "1", "2", "10"), ("b", "10", "a", "2")])
def test_a_folder_and_a_table_have_the_same_order(tmp_path, names):
    for name in names:
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "pets" / name / "a.png")
    rows = [f"pets/{name}/a.png,{name}\n" for name in reversed(names)]
    (tmp_path / "pets.csv").write_text("path,label\n" + "".join(rows))
    sources = [f"folder:{tmp_path}/pets", f"csv:{tmp_path}/pets.csv"]
    assert {open_as_provided(source).classes for source in sources} == {class_order(names)}
