"""What is said about a set of images, in sentences, tables and on a page."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import UInt8

from mixlab.data.dataset import Dataset, ImageSource, Split
from mixlab.data.inspection.check import Check, check_images
from mixlab.data.inspection.check_page import check_page
from mixlab.data.inspection.findings import answer, findings, full_table, results, sizes, tables
from mixlab.report.table import render

Image = UInt8[np.ndarray, "row column 3"]


def scene(seed: int, rows: int = 20) -> Image:
    """Blocks of four pixels, each of one colour."""
    blocks = np.random.default_rng(seed).integers(0, 256, (rows // 4, 6, 3), dtype=np.uint8)
    return blocks.repeat(4, axis=0).repeat(4, axis=1)


class Broken:
    size = 3

    def read_bytes(self) -> bytes:
        return b"<b>"


def checked(classes: tuple[str, ...] = ("cat", "dog"), **splits: Sequence[tuple[str, ImageSource]]) -> Check:
    """Of parts that are lists of (class, image)."""
    made = {}
    for split, images in splits.items():
        labels = np.array([classes.index(label) for label, _ in images], dtype=np.int64)
        names = [f"{split}/{label}/<{place}>.png" for place, (label, _) in enumerate(images)]
        made[split] = Split(names, labels, [image for _, image in images])
    return check_images(Dataset("folder:pets", classes, made), workers=1, quiet=True)


@pytest.fixture
def sound() -> Check:
    return checked(
        train=[("cat", scene(0)), ("cat", scene(5)), ("dog", scene(1)), ("dog", scene(2, 24))],
        test=[("cat", scene(3)), ("dog", scene(4))],
    )


@pytest.fixture
def wrong() -> Check:
    """Everything that can be wrong, once."""
    plain = np.full((20, 20, 3), 255, dtype=np.uint8)
    others = [("cat", scene(10 + number)) for number in range(20)]
    inside = [("cat", scene(6)), ("cat", np.where(scene(6) < 250, scene(6) + 3, scene(6)).astype(np.uint8))]
    return checked(
        train=[("cat", scene(0)), ("cat", scene(1)), ("dog", scene(1)), ("cat", plain), *inside, *others],
        test=[("cat", scene(0)), ("cat", Broken())],
    )


def test_of_a_sound_set_nothing_is_said(sound):
    assert findings(sound) == []
    assert answer(sound) == "Nothing was found to be wrong with 6 images."
    assert "<p>Nothing.</p>" in check_page(sound).html()


def test_everything_that_is_wrong_is_said_in_a_sentence(wrong):
    assert findings(wrong) == [
        'A training would be refused: folder:pets has 0 different images of "dog", and 2 are needed to hold some '
        "out: add images, or take the class out.",
        "Can't be read: 1 image. Mend or remove them, or let a recipe's max_unreadable leave them out.",
        "The same image in more than one part: 1 group, 2 images together. Judging would ask for what was learned "
        "by heart, so keep each in one part.",
        "The same image in more than one class: 1 group, 2 images together. One of the labels may be wrong.",
        "The same image more than once in a part and class: 1 group, 2 images together. They weigh more than "
        "others, and where the part is cut, near copies may come to lie on both sides.",
        'In train, "cat" has 25 images and "dog" 1. Judge by the balanced accuracy, and consider '
        'loss.class_weights="balanced".',
        'Without an image in test: "dog". How a model fares there is not seen.',
        "Of one plain shade, which shows nothing: 1 image.",
    ]
    assert answer(wrong) == "8 things should be looked at in 28 images."


def test_one_class_alone_is_pointed_out():
    check = checked(("cat",), train=[("cat", scene(0)), ("cat", scene(1))])
    assert findings(check) == [
        'A training would be refused: folder:pets has only one class, "cat": telling classes apart takes two, so add '
        "images of another."
    ]


def test_of_many_classes_without_images_some_are_named():
    classes = tuple("abcdefgh")
    train = [(name, scene(2 * place + copy)) for place, name in enumerate(classes) for copy in (0, 1)]
    assert findings(checked(classes, train=train, test=[("a", scene(99))])) == [
        'Without an image in test: "b", "c", "d", "e" and 3 others. How a model fares there is not seen.'
    ]


def test_what_the_source_left_out_is_on_the_page_and_in_the_results(sound):
    told = replace(sound, dataset=replace(sound.dataset, notes=("The folder fish has no images.",)))
    assert "<p>The folder fish has no images.</p>" in check_page(told).html()
    assert results(told)["notes"] == ["The folder fish has no images."]


def test_sizes_are_a_sentence(sound):
    assert sizes(sound) == "Sizes: 20x24 to 24x24 pixels (height x width), 20x24 in the middle."
    assert sizes(checked(train=[("cat", scene(0))])) == "Sizes: all 20x24 pixels (height x width)."
    assert sizes(checked(train=[("cat", Broken())])) == ""


def test_tables_are_for_people(wrong):
    text = "".join(render(table, "markdown") for table in tables(wrong))
    assert "its content is no image of a kind that is known" in text
    assert "the same bytes" in text and "nearly the same" in text
    assert "train, test" in text and "cat, dog" in text


def test_a_long_table_is_cut_and_says_so():
    copies = [("cat", scene(number // 2)) for number in range(50)]
    (*_, of_groups) = tables(checked(train=copies))
    assert len(of_groups.rows) == 20
    assert of_groups.notes == ["The first 20 of 25; --format csv lists all."]


def test_of_copies_the_one_in_another_part_is_named():
    check = checked(train=[("cat", scene(0))] * 3 + [("dog", scene(0))], test=[("cat", scene(1)), ("dog", scene(0))])
    (*_, of_groups) = tables(check)
    assert [row["other"] for row in of_groups.rows] == ["test/dog/<1>.png"]


def test_programs_get_every_image_that_something_is_wrong_with(wrong):
    rows = full_table(wrong).rows
    assert [row["finding"] for row in rows].count("same_bytes") == 4
    assert {row["finding"] for row in rows} == {"unreadable", "plain", "same_bytes", "nearly_the_same"}
    assert {row["group"] for row in rows} == {None, 1, 2, 3}


def test_results_are_json(wrong):
    found = json.loads(json.dumps(results(wrong)))
    assert found["images"] == {"train": 26, "test": 2}
    assert found["classes"]["train"] == {"cat": 25, "dog": 1}
    assert [len(group["members"]) for group in found["groups"]] == [2, 2, 2]
    assert found["unreadable"][0]["reason"] == "its content is no image of a kind that is known"


def test_the_page_shows_the_images_of_each_group_and_escapes_names(wrong):
    html = check_page(wrong).html()
    assert html.count("<img") == 6 and html.count('src="data:image/png;base64,') == 6
    assert "train/cat/&lt;0&gt;.png" in html and "<0>" not in html
    assert "2 images, in train and test, as cat." in html


def test_the_page_shows_the_first_groups_and_images_of_many():
    many = [("cat", scene(number // 2)) for number in range(70)] + [("dog", scene(99))] * 12
    html = check_page(checked(train=many)).html()
    assert "The first 30 of 36 groups; results.json has all." in html
    assert "12 images, of which 8 are shown, in train, as dog." in html


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_fits_and_nothing_complains(wrong, opened, width):
    assert opened(check_page(wrong).html(), width) == (width, "")
