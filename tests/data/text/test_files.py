"""`text:PATH`: tables, lists, lines and folders, and mistakes in them."""

import json
from pathlib import Path

import pytest

from mixlab.data.sources import open_dataset
from mixlab.data.text.files import read_texts
from mixlab.data.text.sources import TEXT_KINDS, out_of_scope_texts
from mixlab.errors import UserError

ROWS = 'text,label\nhello there,greeting\n"good, bye",farewell\n'


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def content_of(location: Path | str, split: str = "train") -> list[tuple[str, str]]:
    dataset = read_texts(str(location))
    found = dataset.splits[split]
    return [
        (text.content, dataset.classes[label])  # pyright: ignore
        for text, label in zip(found.images, found.labels, strict=True)
    ]


EXPECTED = [("hello there", "greeting"), ("good, bye", "farewell")]


def test_a_table_has_columns_of_the_text_and_the_class(tmp_path: Path):
    assert content_of(written(tmp_path / "a.csv", ROWS)) == EXPECTED
    assert content_of(written(tmp_path / "b.tsv", "category\tutterance\nx\thi\n")) == [("hi", "x")]


def test_a_list_has_an_object_per_line(tmp_path: Path):
    lines = [{"text": text, "intent": label} for text, label in EXPECTED]
    assert content_of(written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))) == EXPECTED


def test_other_files_have_a_class_and_a_text_per_line(tmp_path: Path):
    assert content_of(written(tmp_path / "a.all", "greeting hello there\n\n__label__farewell good, bye\n")) == EXPECTED


def test_only_line_ends_of_files_separate_texts(tmp_path: Path):
    texts = [("one \x85 text", "x"), ("another \u2028 of two \x0c pages", "y")]
    objects = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in texts]
    assert content_of(written(tmp_path / "a.jsonl", "\r\n".join(objects))) == texts
    assert content_of(written(tmp_path / "a.all", "\r\n".join(f"{label} {text}" for text, label in texts))) == texts


def test_a_column_may_name_the_splits(tmp_path: Path):
    path = written(tmp_path / "a.csv", "text,label,split\na,x,train\nb,y,train\nc,x,val\nd,y,test\n")
    assert content_of(path, "validation") == [("c", "x")]
    assert content_of(path, "test") == [("d", "y")]


def test_files_are_the_splits_that_their_names_say(tmp_path: Path):
    for name in ("train.csv", "test.csv"):
        written(tmp_path / name, ROWS)
    written(tmp_path / "categories.json", "[]")
    dataset = read_texts(str(tmp_path))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 2, "test": 2}
    assert dataset.notes == ("Skipped because its name is no split: categories.json.",)


def test_a_pattern_selects_files(tmp_path: Path):
    for name in ("TREC.train.all", "TREC.test.all", "other.all"):
        written(tmp_path / name, "0 a\n1 b\n")
    assert set(read_texts(f"{tmp_path}/TREC.*.all").splits) == {"train", "test"}


def test_a_folder_of_folders_has_a_text_per_file(tmp_path: Path):
    written(tmp_path / "greeting" / "1.txt", "hello there")
    written(tmp_path / "farewell" / "1.txt", "good, bye")
    assert sorted(content_of(tmp_path)) == sorted(EXPECTED)
    for split in ("train", "test"):
        written(tmp_path / "splits" / split / "x" / "1.txt", split)
    assert content_of(tmp_path / "splits", "test") == [("test", "x")]


def test_files_outside_class_folders_are_no_texts(tmp_path: Path):
    """The layout of IMDB's reviews."""
    for split in ("train", "test"):
        for label in ("neg", "pos"):
            written(tmp_path / split / label / "1.txt", f"{split} {label}")
        written(tmp_path / split / "urls_pos.txt", "an address")
    written(tmp_path / "train" / ".ipynb_checkpoints" / "1.txt", "a copy")
    written(tmp_path / "extra" / "x" / "1.txt", "not divided")
    dataset = read_texts(str(tmp_path))
    assert dataset.classes == ("neg", "pos")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 2, "test": 2}
    assert dataset.notes == (
        "Skipped the folder extra: it is not train, val or test.",
        "Skipped because they are not in a class folder: 2 texts.",
    )


def test_two_folders_for_one_split_are_refused(tmp_path: Path):
    for split in ("train", "val", "valid"):
        written(tmp_path / split / "x" / "1.txt", split)
    with pytest.raises(UserError, match="val"):
        read_texts(str(tmp_path))


def test_an_object_of_lists_has_splits_and_texts_out_of_scope(tmp_path: Path):
    splits = {
        "train": [["a", "x"], ["b", "y"]],
        "val": [["c", "x"]],
        "test": [["d", "y"]],
        "oos_train": [["p", "oos"]],
        "oos_val": [["q", "oos"]],
        "oos_test": [["r", "oos"], ["s", "oos"]],
    }
    path = written(tmp_path / "data_full.json", json.dumps(splits))
    dataset = read_texts(str(path))
    assert dataset.classes == ("x", "y")
    assert dataset.notes == ("Out of scope, and not learned from: 4 texts (oos_train, oos_val and oos_test).",)
    assert out_of_scope_texts(dataset.name) == {"train": ["p"], "validation": ["q"], "test": ["r", "s"]}


def test_a_stated_encoding_is_used_and_is_part_of_the_name(tmp_path: Path):
    path = written(tmp_path / "a.all", "x caf\xe9\ny t\xe9\n".encode("latin-1"))
    assert content_of(f"{path}:encoding=latin-1")[0] == ("café", "x")
    assert read_texts(f"{path}:encoding=Latin-1").name == f"text:{path}:encoding=latin-1"


def test_equal_texts_stay_in_one_split(tmp_path: Path):
    lines = [f"{label} copy of {label}" for label in "xy" for _ in range(20)]
    lines += [f"{label} text {index} of {label}" for label in "xy" for index in range(20)]
    dataset = open_dataset(f"text:{written(tmp_path / 'a.all', chr(10).join(lines))}", TEXT_KINDS)
    for label in "xy":
        holding = [
            name
            for name, split in dataset.splits.items()
            if any(text.content == f"copy of {label}" for text in split.images)  # pyright: ignore
        ]
        assert len(holding) == 1


MISTAKES = {
    "an empty text": ("a.csv", "text,label\n ,x\n", "has an empty text in line 2"),
    "an empty class": ("a.csv", "text,label\nhi,\n", "has an empty class in line 2"),
    "a missing column": ("a.csv", "words,label\nhi,x\n", "has no column of the text in line 1, only words, label"),
    "another encoding": ("a.all", b"x hi\ny caf\xe9\n", "is not in utf-8: line 2 has the byte 0xe9.*encoding=latin-1"),
    "an object without a text": ("a.jsonl", '{"label": "x"}', "has no column of the text in line 1"),
    "no JSON": ("a.jsonl", "hi", "is not valid JSON in line 1"),
    "another structure": ("a.json", '["hi"]', "is not a list of texts by split"),
    "an open quote": ("a.csv", 'text,label\n"hi,x\n', "has unbalanced double quotes"),
    "an image": ("a.png", b"\x89PNG", "is an image, but texts are expected"),
    "another split": ("a.csv", "text,label,split\nhi,x,dev2\n", 'has the split "dev2": it must be train, val or test'),
}


@pytest.mark.parametrize(("name", "content", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_ends_in_a_sentence(tmp_path: Path, name: str, content: str | bytes, message: str):
    with pytest.raises(UserError, match=message):
        read_texts(str(written(tmp_path / name, content)))


def test_an_unknown_encoding_and_a_missing_file_end_in_a_sentence(tmp_path: Path):
    with pytest.raises(UserError, match='encoding "klingon" is unknown'):
        read_texts(f"{written(tmp_path / 'a.csv', ROWS)}:encoding=klingon")
    with pytest.raises(UserError, match=r"has no texts: give a table with the columns text and label"):
        read_texts(str(tmp_path / "missing.csv"))


def test_files_whose_names_are_no_splits_end_in_a_sentence(tmp_path: Path):
    for name in ("first.csv", "second.csv"):
        written(tmp_path / name, ROWS)
    with pytest.raises(UserError, match="their names do not say which split they are"):
        read_texts(str(tmp_path))


def test_a_single_class_ends_in_a_sentence(tmp_path: Path):
    path = written(tmp_path / "a.all", "x one\nx two\nx three\n")
    with pytest.raises(UserError, match=r'has only one class, "x": .* add texts of another class'):
        open_dataset(f"text:{path}", TEXT_KINDS)


def test_texts_are_no_data_for_images(tmp_path: Path):
    with pytest.raises(UserError, match="has texts, but images are needed"):
        open_dataset(f"text:{tmp_path}")
