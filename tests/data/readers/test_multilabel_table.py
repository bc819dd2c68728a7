"""Parquet files with a column of lists of labels."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.data.multilabel_sources import MULTILABEL_KINDS
from mixlab.data.sources import open_as_provided, open_dataset
from mixlab.errors import UserError

datasets = pytest.importorskip("datasets", reason="needs the extra data")


def png(value: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(content, "png")
    return content.getvalue()


def write(path: Path, labels: list, feature=None) -> str:
    table = datasets.Dataset.from_dict({"image": [png(7 * row) for row in range(len(labels))], "labels": labels})
    if feature is not None:
        table = table.cast_column("labels", feature)
    table.to_parquet(str(path / "train.parquet"))
    return f"parquet:{path / 'train.parquet'}"


def read(name: str):
    kind, _, location = name.partition(":")
    return MULTILABEL_KINDS[kind].as_provided(location, quiet=True)


def test_lists_of_names_are_read_and_an_empty_list_is_an_image_without_labels(tmp_path):
    dataset = read(write(tmp_path, [["cat", "sea"], [], ["dog"]]))
    assert dataset.classes == ("cat", "dog", "sea")
    assert dataset.splits["train"].labels.tolist() == [[True, False, True], [False] * 3, [False, True, False]]


def test_names_of_class_labels_are_the_labels(tmp_path):
    feature = datasets.List(datasets.ClassLabel(names=["sea", "cat"]))
    dataset = read(write(tmp_path, [[1, 0], [1]], feature))
    assert dataset.classes == ("sea", "cat")
    assert dataset.splits["train"].labels.tolist() == [[True, True], [False, True]]


def test_a_missing_list_and_a_column_without_lists_end_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r'row 1 of train, column "labels", has no list: write an empty list'):
        read(write(tmp_path, [["cat"], None]))
    (tmp_path / "single").mkdir()
    with pytest.raises(UserError, match="no column of lists of labels"):
        read(write(tmp_path / "single", ["cat", "dog"]))


def test_without_the_task_a_list_is_refused(tmp_path):
    with pytest.raises(UserError, match="is multi-label"):
        open_as_provided(write(tmp_path, [["cat", "sea"], ["dog"]]))


def test_data_with_one_class_per_image_are_refused_for_the_task():
    with pytest.raises(UserError, match=r'data "digits" has one class per image.*give one of csv:FILE, folder:PATH'):
        open_dataset("digits", MULTILABEL_KINDS)
