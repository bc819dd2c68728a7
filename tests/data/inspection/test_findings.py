"""The findings of a check as sentences, tables, JSON and a page."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image as PilImage

from mixlab.data.dataset import Dataset, ImageSource, Split
from mixlab.data.inspection.check import Check, check_images
from mixlab.data.inspection.check_page import check_page
from mixlab.data.inspection.findings import findings, full_table, headline, results, size_summary, tables
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


def check_splits(classes: tuple[str, ...] = ("cat", "dog"), **splits: Sequence[tuple[str, ImageSource]]) -> Check:
    """Check a dataset given as lists of (class, image) for each split."""
    result = {}
    for split, images in splits.items():
        labels = np.array([classes.index(label) for label, _ in images], dtype=np.int64)
        names = [f"{split}/{label}/<{index}>.png" for index, (label, _) in enumerate(images)]
        result[split] = Split(names, labels, [image for _, image in images])
    return check_images(Dataset("folder:pets", classes, result), workers=1, quiet=True)


class Deep:
    """A TIFF with some values of more than 8 bits."""

    size = 3

    def __init__(self, *values: float, dtype: type):
        content = io.BytesIO()
        rows = np.resize(np.array(values, dtype=dtype), (20, 24))
        PilImage.fromarray(rows).save(content, format="tiff")
        self._content = content.getvalue()

    def read_bytes(self) -> bytes:
        return self._content


@pytest.fixture
def valid() -> Check:
    return check_splits(
        train=[("cat", scene(0)), ("cat", scene(5)), ("dog", scene(1)), ("dog", scene(2, 24))],
        test=[("cat", scene(3)), ("dog", scene(4))],
    )


@pytest.fixture
def invalid() -> Check:
    """A dataset with one finding of each kind."""
    blank = np.full((20, 20, 3), 255, dtype=np.uint8)
    others = [("cat", scene(10 + number)) for number in range(20)]
    near_duplicates = [("cat", scene(6)), ("cat", np.where(scene(6) < 250, scene(6) + 3, scene(6)).astype(np.uint8))]
    return check_splits(
        train=[("cat", scene(0)), ("cat", scene(1)), ("dog", scene(1)), ("cat", blank), *near_duplicates, *others],
        test=[("cat", scene(0)), ("cat", Broken())],
    )


def test_a_valid_dataset_has_no_findings(valid):
    assert findings(valid) == []
    assert headline(valid) == "No problems found in 6 images."
    assert "<p>None.</p>" in check_page(valid).html()


def test_each_finding_is_a_sentence(invalid):
    assert findings(invalid) == [
        'Training is not possible: folder:pets has 1 different image of "dog", but at least 2 are needed to hold some '
        "out: add images, or remove the class.",
        "Unreadable: 1 image. Repair or remove them, or skip them with the recipe key max_unreadable.",
        "The same image in more than one split: 1 group with 2 images. This makes the evaluation too optimistic, so "
        "keep each image in one split.",
        "The same image in more than one class: 1 group with 2 images. Some of the labels may be wrong.",
        "The same image more than once in one split and class: 1 group with 2 images. It has a larger weight in "
        "training.",
        'Imbalanced classes in train: "cat" has 25 images and "dog" has 1. Evaluate by balanced accuracy, and consider '
        'loss.class_weights="balanced".',
        'No images in test: "dog". Models can\'t be evaluated on these classes.',
        "Blank, with a single colour: 1 image.",
    ]
    assert headline(invalid) == "8 kinds of findings in 28 images."


def test_a_single_class_is_a_finding():
    check = check_splits(("cat",), train=[("cat", scene(0)), ("cat", scene(1))])
    assert findings(check) == [
        'Training is not possible: folder:pets has only one class, "cat": a classifier needs at least two, so add '
        "images of another class."
    ]


def test_only_some_of_many_classes_without_images_are_named():
    classes = tuple("abcdefgh")
    train = [(name, scene(2 * index + copy)) for index, name in enumerate(classes) for copy in (0, 1)]
    assert findings(check_splits(classes, train=train, test=[("a", scene(99))])) == [
        'No images in test: "b", "c", "d", "e" and 3 others. Models can\'t be evaluated on these classes.'
    ]


def test_notes_of_the_dataset_are_on_the_page_and_in_the_results(valid):
    with_note = replace(valid, dataset=replace(valid.dataset, notes=("Skipped the folder fish: it has no images.",)))
    assert "<p>Skipped the folder fish: it has no images.</p>" in check_page(with_note).html()
    assert results(with_note)["notes"] == ["Skipped the folder fish: it has no images."]


def test_the_size_summary_is_a_sentence(valid):
    assert size_summary(valid) == "Sizes: 20x24 to 24x24 pixels (height x width), median 20x24."
    assert size_summary(check_splits(train=[("cat", scene(0))])) == "Sizes: all 20x24 pixels (height x width)."
    assert size_summary(check_splits(train=[("cat", Broken())])) == ""


def test_tables_are_human_readable(invalid):
    text = "".join(render(table, "markdown") for table in tables(invalid))
    assert "it is not an image in a supported format" in text
    assert "identical" in text and "near duplicate" in text
    assert "train, test" in text and "cat, dog" in text


def test_a_long_table_is_truncated_with_a_note():
    copies = [("cat", scene(number // 2)) for number in range(50)]
    (*_, group_table) = tables(check_splits(train=copies))
    assert len(group_table.rows) == 20
    assert group_table.notes == ["These are the first 20 of 25 rows; --format csv lists all."]


def test_the_duplicate_in_another_split_is_named():
    check = check_splits(
        train=[("cat", scene(0))] * 3 + [("dog", scene(0))], test=[("cat", scene(1)), ("dog", scene(0))]
    )
    (*_, group_table) = tables(check)
    assert [row["other"] for row in group_table.rows] == ["test/dog/<1>.png"]


def test_the_full_table_lists_every_image_with_a_finding(invalid):
    rows = full_table(invalid).rows
    assert [row["finding"] for row in rows].count("identical") == 4
    assert {row["finding"] for row in rows} == {"unreadable", "blank", "identical", "near_duplicate"}
    assert {row["group"] for row in rows} == {None, 1, 2, 3}


def test_results_are_json(invalid):
    content = json.loads(json.dumps(results(invalid)))
    assert content["images"] == {"train": 26, "test": 2}
    assert content["classes"]["train"] == {"cat": 25, "dog": 1}
    assert [len(group["members"]) for group in content["groups"]] == [2, 2, 2]
    assert content["unreadable"][0]["reason"] == "it is not an image in a supported format"


def test_the_page_shows_the_images_of_each_group_and_escapes_names(invalid):
    html = check_page(invalid).html()
    assert html.count("<img") == 6 and html.count('src="data:image/png;base64,') == 6
    assert "train/cat/&lt;0&gt;.png" in html and "<0>" not in html
    assert "2 images in train and test, labelled cat." in html


def test_the_page_shows_only_the_first_groups_and_images():
    many = [("cat", scene(number // 2)) for number in range(70)] + [("dog", scene(99))] * 12
    html = check_page(check_splits(train=many)).html()
    assert "These are the first 30 of 36 groups; results.json lists all." in html
    assert "12 images (8 shown) in train, labelled dog." in html


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_fits_the_window_without_console_errors(invalid, opened, width):
    assert opened(check_page(invalid).html(), width) == (width, "")


def value_range_findings(*images: Deep) -> list[str]:
    check = check_splits(train=[("cat", image) for image in images], test=[("dog", scene(1))])
    return [sentence for sentence in findings(check) if sentence.startswith("More than 8 bits")]


def test_images_of_12_bits_in_files_of_16_bits_have_their_range():
    check = check_splits(train=[("cat", Deep(0, 900, dtype=np.uint16)), ("dog", Deep(5, 4000, dtype=np.uint16))])
    assert results(check)["values"] == "Values of images with more than 8 bits: 0 to 4000; value range: 0 to 4095."
    assert value_range_findings(Deep(0, 900, dtype=np.uint16), Deep(5, 4000, dtype=np.uint16)) == []


def test_a_dark_image_beside_bright_ones_is_no_finding():
    assert value_range_findings(Deep(0, 900, dtype=np.uint16), Deep(5, 40000, dtype=np.uint16)) == []


def test_images_that_keep_few_shades_are_reported():
    assert value_range_findings(*[Deep(0, 0.9, dtype=np.float32)] * 2, Deep(5, 200, dtype=np.float32)) == [
        "More than 8 bits, with few shades left: 2 of 3 images have values in less than 1/16 of the value range of "
        "all, 0 to 255. If black and white have other values in your data, set preprocessing.value_range."
    ]


def test_the_values_of_images_with_more_than_8_bits_are_summarized(valid):
    check = check_splits(train=[("cat", Deep(0, 30000, dtype=np.uint16)), ("dog", scene(1))])
    summary = "Values of images with more than 8 bits: 0 to 30000; value range: 0 to 65535."
    assert results(check)["values"] == summary
    assert summary in "".join(render(table, "markdown") for table in tables(check))
    assert results(valid)["values"] == ""
