import numpy as np
import pytest

from mixlab.data.holdout import group_samples
from mixlab.data.sources import is_same_source, open_dataset, open_for_evaluation
from mixlab.errors import UserError


@pytest.fixture
def table(write_tree):
    """Writes `header` and `rows` to pets.csv, beside ten images of cats and ten of dogs."""
    write_tree("cat", 10)
    root = write_tree("dog", 10)

    def write(header, rows, encoding="utf-8"):
        (root / "pets.csv").write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
        return f"csv:{root / 'pets.csv'}"

    return write


ROWS = [f"{label}/{number:03d}.png,{label}" for label in ("cat", "dog") for number in range(10)]


def test_a_table_without_splits_is_divided(table):
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
def test_other_separators_titles_and_a_byte_order_mark_are_accepted(table, separator):
    rows = [row.replace(",", separator) for row in ROWS]
    pets = open_dataset(table(f"File{separator}Label", rows, encoding="utf-8-sig"))
    assert sum(map(len, pets.splits.values())) == 20


@pytest.mark.parametrize("image", ["image", "file_name", "filename", "image_path", "path", "file"])
@pytest.mark.parametrize("label", ["label", "Class", "target"])
def test_columns_can_have_several_names(table, image, label):
    assert open_dataset(table(f"id,{image} ,{label}", [f"0,{row}" for row in ROWS])).classes == ("cat", "dog")


def test_quoted_values_are_read(table):
    """With separators and quotes inside, and after a space; a column that is not read can have line breaks."""
    labels = {"cat": ' "cat, tabby"', "dog": '"the ""good"" dog"'}
    rows = [f'{row.split(",")[0]},{labels[row[:3]]},"two\nlines"' for row in ROWS]
    assert open_dataset(table("path,label,note", rows)).classes == ("cat, tabby", 'the "good" dog')


def test_the_line_of_a_row_counts_line_breaks_in_values(table):
    name = table("path,label,note", [f'{ROWS[0]},"two\nlines"', *ROWS[1:], "cat/000.png,"])
    assert 'pets.csv has no value in the column "label" in line 23' in error_message(name)


def test_the_split_column_is_used(table):
    splits = ["train", "Val", "test", "train", "train"] * 4
    pets = open_dataset(table("path,label,split", [f"{row},{split}" for row, split in zip(ROWS, splits, strict=True)]))
    assert {name: len(split) for name, split in pets.splits.items()} == {"train": 12, "validation": 4, "test": 4}
    assert pets.splits["test"].names[0] == "cat/002.png"
    assert not pets.split_by_mixlab


def test_the_splits_of_a_table_have_the_names_that_folders_may_have(table):
    splits = ["my_train", "my_valid", "My_Testing", "my_train", "my_train"] * 4
    pets = open_dataset(table("path,label,split", [f"{row},{split}" for row, split in zip(ROWS, splits, strict=True)]))
    assert {name: len(split) for name, split in pets.splits.items()} == {"train": 12, "validation": 4, "test": 4}


def test_a_group_stays_in_one_split(table):
    group_names = [f"patient {number % 10 // 2}" for number in range(20)]
    rows = [f"{row},{row[:3]} {group}" for row, group in zip(ROWS, group_names, strict=True)]
    pets = open_dataset(table("path,label,group", rows))
    groups = [set(split.groups) for split in pets.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 10
    assert len(np.unique(group_samples(pets.splits["train"]).group_ids)) == len(groups[0])


def test_groups_and_copies_keep_connected_images_in_one_split(table, tmp_path):
    root = tmp_path / "pets"
    (root / "dog/009.png").write_bytes((root / "cat/000.png").read_bytes())
    rows = [f"{row},{number if number != 1 else 0}" for number, row in enumerate(ROWS)]
    pets = open_dataset(table("path,label,group", rows))
    split_of = {name: split for split, names in pets.assignment.items() for name in names}
    assert split_of["cat/000.png"] == split_of["cat/001.png"] == split_of["dog/009.png"]


def test_numeric_labels_are_sorted_by_value(table):
    rows = [f"{row.split(',')[0]},{number % 4 * 5}" for number, row in enumerate(ROWS)]
    assert open_dataset(table("path,label", rows)).classes == ("0", "5", "10", "15")


def test_evaluation_uses_all_images(table):
    dataset = open_for_evaluation(table("path,label", ROWS), ("dog", "cat"))
    assert dataset.splits["test"].labels.tolist() == [1] * 10 + [0] * 10


def test_the_name_opens_the_table_from_another_working_directory(table, monkeypatch, tmp_path):
    name = table("path,label", ROWS)
    monkeypatch.chdir(tmp_path / "pets")
    opened = open_dataset("csv:pets.csv")
    assert opened.name == name
    assert is_same_source("csv:pets.csv", name)


def error_message(name):
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    return str(caught.value).replace(name.removeprefix("csv:"), "pets.csv")


@pytest.mark.parametrize(
    ("header", "rows", "sentence"),
    [
        (
            "path,labels",
            ROWS,
            "pets.csv has no column of the class in line 1, only path, labels: the first row must name it label, "
            'class or target. Rename "labels" to "label" if it is that column. If it has several labels per image, '
            "train with --task multilabel.",
        ),
        ("path,breed", ROWS, 'Rename "breed" to "label" if it is that column.'),
        (
            "photo,label,image_url",
            [f"{row},x" for row in ROWS],
            "pets.csv has no column of the image in line 1, only photo, label, image_url: the first row must name it "
            'path, file, filename, file_name, image or image_path. Rename "image_url" to "path" if it is that column.',
        ),
        (
            "path,a,b",
            [f"{row},x" for row in ROWS],
            "only path, a, b: the first row must name it label, class or target.",
        ),
        (
            "",
            [],
            "pets.csv has no column of the image in line 1, only an empty row: the first row must name it path, file",
        ),
        (
            "path,label,label",
            [f"{row},x" for row in ROWS],
            'pets.csv has 2 columns of the class in line 1, "label" and "label": rename or remove all but one.',
        ),
        (
            "path,label,File",
            [f"{row},x" for row in ROWS],
            'pets.csv has 2 columns of the image in line 1, "path" and "File": rename or remove all but one.',
        ),
        (
            "path,label,split,Split",
            [f"{row},train,test" for row in ROWS],
            'pets.csv has 2 columns of the split in line 1, "split" and "Split"',
        ),
        (
            "path,label",
            [*ROWS, "cat/000.png,cat, tabby"],
            "pets.csv has 3 values in line 22, but only 2 columns: write double quotes around a value that contains "
            "the separator of the columns.",
        ),
        ("path,label", [], "pets.csv has a header but no rows: add a row with a path and a label for each image."),
        (
            "path,label",
            [*ROWS, "cat/010.png,cat", "cat/011.png,cat"],
            "pets.csv lists 22 images, but 2 of them do not exist, such as cat/010.png: paths are relative to ",
        ),
        (
            "path,label",
            [*ROWS, "./cat/000.png,dog"],
            'pets.csv is multi-label: ./cat/000.png has the class "cat" in line 2 and "dog" in line 22, but each image '
            "must have one class. Remove one of the rows, or train with --task multilabel.",
        ),
        (
            "path,label",
            [*ROWS, "cat/000.png,cat"],
            "pets.csv has cat/000.png in line 2 and again in line 22: each image can have only one row, so remove one "
            "of them.",
        ),
        (
            "path,label",
            [*ROWS, "cat/000.png,"],
            'pets.csv has no value in the column "label" in line 22: add it or remove the row.',
        ),
        ("path,label", [*ROWS, "cat/000.png"], 'pets.csv has no value in the column "label" in line 22'),
        (
            "path,label,split",
            [f"{row},holdout" for row in ROWS],
            'pets.csv has the split "holdout" in line 2: it must be train, val or test.',
        ),
        (
            "path,label,split",
            [f"{row},{split}" for row, split in zip(ROWS, ["train", "val", "eval", "test"] * 5, strict=True)],
            "pets.csv has two validation splits, val and eval: rename or remove one of them.",
        ),
        ("path,label", ROWS[:10], 'csv:pets.csv has only one class, "cat": a classifier needs at least two'),
        (
            "path,label,split",
            [f"{row},test" for row in ROWS],
            "csv:pets.csv has test images but no training images: the split to train on must be called train.",
        ),
        (
            "path,label,group",
            [f"{row},{row[:3]}" for row in ROWS],
            'csv:pets.csv has 1 group of "cat", but at least 3 are needed to hold some out',
        ),
        (
            "path,label",
            [*ROWS[:-1], 'dog/009.png,"dog'],
            "pets.csv has unbalanced double quotes in line 21 (unexpected end of data): quote the whole value, and "
            "write each quote inside it twice.",
        ),
        (
            "path,label",
            ['cat/000.png,"cat"s', *ROWS[1:]],
            """pets.csv has unbalanced double quotes in line 2 (',' expected after '"')""",
        ),
        (
            "path,label",
            [ROWS[0], "", 'cat/001.png,cat"', *ROWS[2:]],
            "pets.csv has unbalanced double quotes in line 4 (a quote inside a value)",
        ),
        ('path,"label', ROWS, "pets.csv has unbalanced double quotes in line 1 (unexpected end of data)"),
        (
            "path,label",
            [ROWS[0], 'cat/001.png,"cat', 'cat/002.png,cat"', *ROWS[3:]],
            'pets.csv has a line break in the column "label" in line 3: close the double quotes that open there.',
        ),
    ],
)
def test_an_invalid_table_is_refused(table, header, rows, sentence):
    assert sentence in error_message(table(header, rows))


def test_a_missing_table_is_refused(tmp_path):
    assert error_message(f"csv:{tmp_path}/missing.csv").startswith("csv:pets.csv does not exist")


def test_a_folder_is_refused(tmp_path):
    assert "can't be read (Is a directory): give the path of a table." in error_message(f"csv:{tmp_path}")


def test_a_table_in_another_encoding_is_refused(table):
    assert "is not a CSV table in UTF-8" in error_message(
        table("path,label", [*ROWS, "katze/ö.png,katze"], encoding="latin-1")
    )
