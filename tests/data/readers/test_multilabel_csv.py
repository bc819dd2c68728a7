"""Tables with several labels per image: their three shapes, and mistakes in them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.data.dataset import Dataset
from mixlab.data.readers.multilabel_csv import read_multilabel_csv
from mixlab.errors import UserError


@pytest.fixture
def read(tmp_path: Path):
    """Writes a table beside the images a.png, b.png and c.png, and reads it."""
    for value, name in enumerate("abc"):
        Image.fromarray(np.full((4, 4, 3), 40 * value, np.uint8)).save(tmp_path / f"{name}.png")

    def read(*lines: str) -> Dataset:
        (tmp_path / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return read_multilabel_csv(tmp_path / "table.csv")

    return read


def labels_of(dataset: Dataset) -> dict[str, set[str]]:
    return {
        name: {dataset.classes[index] for index in np.flatnonzero(row)}
        for split in dataset.splits.values()
        for name, row in zip(split.names, split.labels, strict=True)
    }


EXPECTED = {"a.png": {"cat", "sea"}, "b.png": set(), "c.png": {"dog"}}


@pytest.mark.parametrize("separator", ["|", ";", "; ", " "])
@pytest.mark.parametrize("title", ["labels", "Tags", "label"])
def test_labels_are_separated_in_one_column(read, separator, title):
    dataset = read(f"path,{title}", f"a.png,cat{separator}sea", "b.png,", "c.png,dog")
    assert dataset.classes == ("cat", "dog", "sea")
    assert labels_of(dataset) == EXPECTED


def test_a_comma_separates_labels_within_quotes(read):
    assert labels_of(read("path,labels", 'a.png,"cat, sea"', "b.png,", "c.png,dog")) == EXPECTED


def test_a_space_is_part_of_a_label_if_another_separator_occurs(read):
    dataset = read("path,labels", "a.png,traffic light|sea", "b.png,traffic light")
    assert dataset.classes == ("sea", "traffic light")


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False")])
def test_each_label_has_a_column(read, yes, no):
    dataset = read(
        "image,sea,cat,dog,split",
        f"a.png,{yes},{yes},{no},train",
        f"b.png,{no},{no},{no},val",
        f"c.png,{no},{no},{yes},test",
    )
    assert dataset.classes == ("sea", "cat", "dog")  # in the order of the columns
    assert labels_of(dataset) == EXPECTED
    assert {name: split.names for name, split in dataset.splits.items()} == {
        "train": ["a.png"],
        "validation": ["b.png"],
        "test": ["c.png"],
    }


def test_rows_of_the_same_image_are_united(read):
    assert labels_of(read("path,label", "a.png,cat", "b.png,", "a.png,sea", "c.png,dog")) == EXPECTED


def test_images_without_a_label_are_counted_in_a_note(read):
    assert any("no label applies: 1 image." in note for note in read("path,labels", "a.png,x", "b.png,").notes)


def test_a_table_in_which_no_image_has_several_labels_has_a_note(read):
    assert any("No image has several labels" in note for note in read("path,labels", "a.png,x", "b.png,y").notes)
    assert not any("several labels" in note for note in read("path,labels", "a.png,x|y", "b.png,y").notes)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,cat,dog", "a.png,1,2"], 'has "2" in the column "dog" in line 2'),
        (["path,cat,dog", "a.png,1,"], 'has no value in the column "dog" in line 2'),
        (["path", "a.png"], "no column of the labels in line 1, only path"),
        (["path,cat,cat", "a.png,1,1"], "with different names"),
        (["name,labels", "a.png,cat"], "no column of the image in line 1"),
        (["path,labels,tags", "a.png,cat,dog"], '2 columns of the labels in line 1, "labels" and "tags"'),
        (["path,labels", "x.png,cat"], "1 of them do not exist, such as x.png"),
        (["path,labels", ",cat"], 'no value in the column "path" in line 2'),
        (["path,labels"], "has a header but no rows"),
        (["path,labels", "a.png,", "b.png,"], "has no labels"),
        (["path,labels", "a.png,cat", "a.png,cat"], 'line 2 and again in line 3 with the label "cat"'),
        (["path,labels", "a.png,", "a.png,"], "line 2 and again in line 3 without a label"),
        (["path,labels,split", "a.png,x,train", "a.png,y,val"], "with another split or group"),
        (["path,labels,split", "a.png,x,holdout"], 'has the split "holdout" in line 2'),
        (["path,labels", "a.png,cat,dog"], "has 3 values in line 2, but only 2 columns"),
    ],
)
def test_mistakes_end_in_a_sentence(read, lines, message):
    with pytest.raises(UserError) as error:
        read(*lines)
    assert message in str(error.value)
