import numpy as np
import pytest

from mixlab.data.holdout import group_samples
from mixlab.data.sources import is_same_source, open_dataset, open_for_evaluation
from mixlab.errors import UserError


@pytest.fixture
def table(write_tree):
    """Writes `rows` under `head` into pets.csv, beside ten images of cats and ten of dogs."""
    write_tree("cat", 10)
    root = write_tree("dog", 10)

    def write(head, rows, encoding="utf-8"):
        (root / "pets.csv").write_text("\n".join([head, *rows]) + "\n", encoding=encoding)
        return f"csv:{root / 'pets.csv'}"

    return write


ROWS = [f"{label}/{number:03d}.png,{label}" for label in ("cat", "dog") for number in range(10)]


def test_a_table_without_splits_is_cut_as_a_folder_is(table):
    pets = open_dataset(table("path,label", ROWS))
    assert pets.classes == ("cat", "dog")
    assert {name: np.bincount(split.labels).tolist() for name, split in pets.splits.items()} == {
        "train": [7, 7],
        "validation": [1, 1],
        "test": [2, 2],
    }
    assert pets.split_by_mixlab
    assert pets.splits["train"].image(0).shape == (4, 4, 3)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_a_byte_order_mark_and_other_titles_are_understood(table, separator):
    rows = [row.replace(",", separator) for row in ROWS]
    pets = open_dataset(table(f"File{separator}Label", rows, encoding="utf-8-sig"))
    assert sum(map(len, pets.splits.values())) == 20


def test_splits_are_taken_as_they_are(table):
    splits = ["train", "Val", "test", "train", "train"] * 4
    pets = open_dataset(table("path,label,split", [f"{row},{split}" for row, split in zip(ROWS, splits, strict=True)]))
    assert {name: len(split) for name, split in pets.splits.items()} == {"train": 12, "validation": 4, "test": 4}
    assert pets.splits["test"].names[0] == "cat/002.png"
    assert not pets.split_by_mixlab


def test_a_group_stays_on_one_side_of_every_cut(table):
    found_groups = [f"patient {number % 10 // 2}" for number in range(20)]
    rows = [f"{row},{row[:3]} {group}" for row, group in zip(ROWS, found_groups, strict=True)]
    pets = open_dataset(table("path,label,group", rows))
    groups = [set(split.groups) for split in pets.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 10
    assert len(np.unique(group_samples(pets.splits["train"]).group_ids)) == len(groups[0])


def test_a_group_with_two_classes_and_copies_hold_together_what_they_link(table, tmp_path):
    root = tmp_path / "pets"
    (root / "dog/009.png").write_bytes((root / "cat/000.png").read_bytes())
    rows = [f"{row},{number if number != 1 else 0}" for number, row in enumerate(ROWS)]
    pets = open_dataset(table("path,label,group", rows))
    side = {name: split for split, names in pets.assignment.items() for name in names}
    assert side["cat/000.png"] == side["cat/001.png"] == side["dog/009.png"]


def test_numbers_as_labels_are_in_the_order_of_their_values(table):
    rows = [f"{row.split(',')[0]},{number % 4 * 5}" for number, row in enumerate(ROWS)]
    assert open_dataset(table("path,label", rows)).classes == ("0", "5", "10", "15")


def test_an_unseen_table_is_used_whole(table):
    unseen = open_for_evaluation(table("path,label", ROWS), ("dog", "cat"))
    assert unseen.splits["test"].labels.tolist() == [1] * 10 + [0] * 10


def test_a_tables_name_opens_it_from_anywhere(table, monkeypatch, tmp_path):
    name = table("path,label", ROWS)
    monkeypatch.chdir(tmp_path / "pets")
    opened = open_dataset("csv:pets.csv")
    assert opened.name == name
    assert is_same_source("csv:pets.csv", name)


def refused(name):
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    return str(caught.value).replace(name.removeprefix("csv:"), "pets.csv")


@pytest.mark.parametrize(
    ("head", "rows", "sentence"),
    [
        (
            "path,labels",
            ROWS,
            'pets.csv has no column "label" but path, labels: its first row has to name a path and a label, and may '
            'name split and group. Did you mean "labels"?',
        ),
        ("", [], 'pets.csv has no column "path" but nothing: its first row has to name a path and a label'),
        ("path,label", [], "pets.csv has a head but no rows: give each image a row with its path and its label."),
        (
            "path,label",
            [*ROWS, "cat/010.png,cat", "cat/011.png,cat"],
            "pets.csv names 2 of 22 images that are not there, such as cat/010.png: paths are relative to ",
        ),
        (
            "path,label",
            [*ROWS, "cat/000.png,dog"],
            "pets.csv has cat/000.png in line 2 and again in line 22: an image has one row and one class, so remove "
            "one of them.",
        ),
        (
            "path,label",
            [*ROWS, "cat/000.png,"],
            'pets.csv has nothing in the column "label" of line 22: fill it or remove the row.',
        ),
        ("path,label", [*ROWS, "cat/000.png"], 'pets.csv has nothing in the column "label" of line 22'),
        (
            "path,label,split",
            [f"{row},holdout" for row in ROWS],
            'pets.csv has the split "holdout" in line 2: it can be train, val or test.',
        ),
        ("path,label", ROWS[:10], 'csv:pets.csv has only one class, "cat": telling classes apart takes two'),
        (
            "path,label,split",
            [f"{row},test" for row in ROWS],
            "csv:pets.csv has test images but none to train on: the part to learn from has to be called train.",
        ),
        (
            "path,label,group",
            [f"{row},{row[:3]}" for row in ROWS],
            'csv:pets.csv has 1 group of "cat", and 3 are needed to hold some out',
        ),
        ("path,label", [*ROWS[:-1], 'dog/009.png,"dog'], "csv:pets.csv is no table in UTF-8 (unexpected end of data)"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(table, head, rows, sentence):
    assert sentence in refused(table(head, rows))


def test_a_missing_table_is_refused(tmp_path):
    assert refused(f"csv:{tmp_path}/gone.csv").startswith("csv:pets.csv is not there")


def test_a_folder_in_place_of_a_table_is_refused(tmp_path):
    assert "can't be read (Is a directory): give the path of a table." in refused(f"csv:{tmp_path}")


def test_a_table_in_another_encoding_is_refused(table):
    assert "is no table in UTF-8" in refused(table("path,label", [*ROWS, "katze/ö.png,katze"], encoding="latin-1"))
