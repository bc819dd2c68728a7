"""Folders with links, without access to files, and with classes at another depth."""

import os
from pathlib import Path

import pytest

from mixlab.data.readers.folder_scan import scan
from mixlab.data.sources import open_as_provided, open_dataset
from mixlab.errors import UserError


def error_message(root) -> str:
    with pytest.raises(UserError) as caught:
        scan(root)
    return str(caught.value)


@pytest.mark.parametrize("spelling", [("Training", "Testing"), ("seg_train", "seg_test"), ("training_set", "test_set")])
def test_the_splits_of_a_folder_can_have_several_names(write_tree, spelling):
    for split in spelling:
        write_tree(f"{split}/cat", 2)
        write_tree(f"{split}/dog", 2)
    root = write_tree("seg_pred/x", 1)
    contents = scan(root)
    assert {split: [image.label for image in images] for split, images in contents.splits.items()} == {
        "train": ["cat", "cat", "dog", "dog"],
        "test": ["cat", "cat", "dog", "dog"],
    }
    assert contents.notes == ("Skipped the folder seg_pred: it is not train, val or test.",)


def test_two_folders_of_one_split_are_refused(write_tree):
    for split in ("train", "val", "valid"):
        root = write_tree(f"{split}/cat", 2)
    assert error_message(root) == (
        f"folder:{root} has two validation splits, val and valid: rename or remove one of them."
    )


@pytest.mark.parametrize("inside", ["", "train/"])
@pytest.mark.parametrize("link", ["again", "cat/again", "cat/up"])
def test_links_back_to_a_folder_are_skipped_with_a_note(write_tree, inside, link):
    write_tree(f"{inside}cat", 2)
    root = write_tree(f"{inside}dog", 2)
    (root / inside / link).symlink_to(".." if link == "cat/up" else ".")
    contents = scan(root)
    assert [image.label for image in contents.splits["train"]] == ["cat", "cat", "dog", "dog"]
    assert contents.notes == (
        f"Skipped because they lead to a file or folder that is already included: 1 link ({inside}{link}).",
    )


def test_a_link_to_a_file_of_the_same_class_is_skipped_and_to_one_of_another_class_is_a_copy(write_tree):
    write_tree("cat", 5)
    root = write_tree("dog", 5)
    (root / "cat/same.png").symlink_to("000.png")
    (root / "dog/cat.png").symlink_to("../cat/000.png")
    pets = open_dataset(f"folder:{root}")
    assert sum(map(len, pets.splits.values())) == 11
    assert pets.notes[0] == (
        "Skipped because they lead to a file or folder that is already included: 1 link (cat/same.png)."
    )
    assert pets.notes[2:] == (
        "Byte-identical to another image and kept in the same split: 1 image.",
        "Byte-identical images with different classes: 1 image.",
    )


FETCH = "fetch the files, for example with `git annex get` or `dvc pull`."


def test_a_folder_of_broken_links_is_refused(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(8):
            (tmp_path / label / f"{number}.jpg").symlink_to(f"/nowhere/{label}{number}")
    assert error_message(tmp_path) == (
        f"folder:{tmp_path} has no image that can be read. Links to files that do not exist: 16, such as cat/0.jpg; "
        f"{FETCH}"
    )


def test_folders_that_are_broken_links_are_refused(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).symlink_to(f"/nowhere/{label}")
    assert error_message(tmp_path).endswith(f"Links to files that do not exist: 2, such as cat; {FETCH}")


def test_some_broken_links_are_noted_and_are_not_copies_of_each_other(write_tree):
    write_tree("cat", 3)
    root = write_tree("dog", 3)
    for number in range(2):
        (root / f"dog/broken{number}.png").symlink_to(f"/nowhere/{number}")
    notes = open_dataset(f"folder:{root}").notes
    assert notes[0] == f"Links to files that do not exist: 2, such as dog/broken0.png; {FETCH}"
    assert len(notes) == 2
    assert len(open_as_provided(f"folder:{root}").splits["train"]) == 8


def test_a_split_that_is_a_broken_link_is_noted(write_tree):
    root = write_tree("train/cat", 3)
    (root / "test").symlink_to("/nowhere")
    assert scan(root).notes == (f"Links to files that do not exist: 1, such as test; {FETCH}",)


def forbid(monkeypatch, *forbidden: str) -> None:
    """Lets the user read no file with these names. Real permissions would not apply to root."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name not in forbidden)


def test_files_without_permission_are_noted(write_tree, monkeypatch):
    write_tree("cat", 3)
    root = write_tree("dog", 3)
    forbid(monkeypatch, "001.png")
    assert scan(root).notes == (
        "Not readable with your permissions: 2 images, such as cat/001.png; change their permissions.",
    )


def test_a_folder_in_which_no_file_may_be_read_is_refused(write_tree, monkeypatch):
    root = write_tree("cat", 1)
    forbid(monkeypatch, "000.png")
    assert error_message(root) == (
        f"folder:{root} has no image that can be read. Not readable with your permissions: 1 image, such as "
        "cat/000.png; change their permissions."
    )


def test_a_folder_with_dvc_files_alone_is_refused_with_the_command(tmp_path):
    (tmp_path / "cat.dvc").write_text("outs: []")
    assert error_message(tmp_path) == (
        f"folder:{tmp_path} has no images: add a folder of images (.jpg, .png, .webp ...) for each class. Its files "
        "end in .dvc: run `dvc pull`."
    )


@pytest.mark.parametrize("classes", [("cat", "dog"), ("cat",)])
@pytest.mark.parametrize("outer", ["images", "archive/images"])
def test_a_folder_around_the_classes_is_refused_with_the_path_to_give(write_tree, tmp_path, outer, classes):
    root = tmp_path / "pets"
    for label in classes:
        write_tree(f"{outer}/{label}", 2)
    folder = outer.split("/")[0]
    assert error_message(root) == (
        f"folder:{root} has one class folder, {folder}, which has no images of its own: if the classes lie deeper, "
        f"give folder:{root}/{outer}; if {folder} is the class, move all of its images directly into it."
    )


def test_the_path_to_give_is_that_of_the_folder_with_the_splits(write_tree):
    for split in ("train", "test"):
        root = write_tree(f"brain/{split}/cat", 2)
    assert f"give folder:{root}/brain;" in error_message(root)


def test_a_folder_around_the_classes_of_each_split_is_refused(write_tree):
    for split in ("seg_train", "seg_test"):
        for label in ("cat", "dog"):
            root = write_tree(f"{split}/{split}/{label}", 2)
    assert error_message(root) == (
        f"folder:{root} has one class folder in each split, seg_test/seg_test and seg_train/seg_train, without images "
        "of its own: if the classes are the folders in it, such as seg_train/seg_train/cat, move them up by one folder."
    )


def test_classes_with_images_only_in_subfolders_are_noted(write_tree):
    for label in ("cat", "cat-like", "dog"):
        root = write_tree(f"{label}/2023/summer", 2)
    contents = scan(root)
    assert {image.label for image in contents.splits["train"]} == {"cat", "cat-like", "dog"}
    assert contents.notes == (
        "No class folder has images of its own, only folders such as cat/2023: the classes are cat, cat-like and dog. "
        f"If the classes lie one folder deeper, give folder:{root}/cat, or move their folders up.",
    )
