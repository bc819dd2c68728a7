"""Folders of tags: an image in several folders has all of their labels."""

from pathlib import Path

import numpy as np
from PIL import Image

from mixlab.data.dataset import Dataset
from mixlab.data.readers.multilabel_folder import read_multilabel_folder


def write(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)


def labels_of(dataset: Dataset) -> dict[str, set[str]]:
    split = dataset.splits["train"]
    return {
        name: {dataset.classes[index] for index in np.flatnonzero(row)}
        for name, row in zip(split.names, split.labels, strict=True)
    }


def test_copies_and_links_are_one_image_with_all_labels(tmp_path):
    write(tmp_path / "cat" / "1.png", 10)
    write(tmp_path / "sea" / "other name.png", 10)  # a copy
    write(tmp_path / "cat" / "2.png", 20)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "2.png").symlink_to(tmp_path / "cat" / "2.png")
    dataset = read_multilabel_folder(tmp_path)
    assert dataset.classes == ("cat", "dog", "sea")
    assert labels_of(dataset) == {"cat/1.png": {"cat", "sea"}, "cat/2.png": {"cat", "dog"}}


def test_different_images_with_the_same_name_are_different(tmp_path):
    write(tmp_path / "cat" / "1.png", 10)
    write(tmp_path / "dog" / "1.png", 20)
    assert labels_of(read_multilabel_folder(tmp_path)) == {"cat/1.png": {"cat"}, "dog/1.png": {"dog"}}


def test_a_folder_with_one_class_per_image_is_read_and_has_a_note(tmp_path):
    write(tmp_path / "cat" / "1.png", 10)
    write(tmp_path / "dog" / "2.png", 20)
    assert any("Without --task multilabel" in note for note in read_multilabel_folder(tmp_path).notes)
