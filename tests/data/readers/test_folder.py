import json
import os
import unicodedata

import numpy as np
import pytest

from mixlab.data.dataset import Dataset
from mixlab.data.readers.folder import read_folder
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError


def sizes(dataset: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


def test_the_splits_of_a_folder_are_used(write_tree):
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        write_tree(f"{split}/cat", count)
        root = write_tree(f"{split}/dog", count)
    pets = open_dataset(f"folder:{root}")
    assert pets.classes == ("cat", "dog")
    assert sizes(pets) == {"train": 8, "validation": 4, "test": 6}
    assert pets.splits["validation"].names[0] == "val/cat/000.png"
    assert pets.splits["test"].labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert not pets.split_by_mixlab
    assert pets.notes == ()


def test_opening_reads_no_images(write_tree):
    for split in ("train", "val", "test"):
        write_tree(f"{split}/cat", 2)
        root = write_tree(f"{split}/dog", 2)
    for path in root.rglob("*.png"):
        path.write_bytes(b"broken")
    open_dataset(f"folder:{root}")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_validation_folders_can_have_several_names(write_tree, name):
    for split in ("train", name, "test"):
        write_tree(f"{split}/cat", 2)
        root = write_tree(f"{split}/dog", 2)
    assert sizes(open_dataset(f"folder:{root}"))["validation"] == 4


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_the_only_held_out_split_is_used_as_test(write_tree, held_out):
    write_tree("train/cat", 20)
    write_tree("train/dog", 10)
    write_tree(f"{held_out}/cat", 3)
    root = write_tree(f"{held_out}/dog", 3)
    pets = open_dataset(f"folder:{root}")
    assert sizes(pets) == {"train": 27, "validation": 3, "test": 6}
    assert {name.split("/")[0] for name in pets.splits["test"].names} == {held_out}
    assert np.bincount(pets.splits["validation"].labels).tolist() == [2, 1]
    assert pets.split_by_mixlab
    assert "A tenth of train was held out as validation" in pets.notes[0]
    assert ("is used as the test split" in pets.notes[0]) == (held_out == "val")


@pytest.mark.parametrize("inside", ["", "train/"])
def test_class_folders_without_splits_are_divided(write_tree, inside):
    write_tree(f"{inside}cat", 50)
    root = write_tree(f"{inside}dog", 20)
    pets = open_dataset(f"folder:{root}")
    assert {name: np.bincount(split.labels).tolist() for name, split in pets.splits.items()} == {
        "train": [36, 14],
        "validation": [4, 2],
        "test": [10, 4],
    }
    assert pets.split_by_mixlab
    assert pets.notes == (
        "A fifth of the images was held out as test and a tenth of the rest as validation, stratified by class with a "
        "fixed seed.",
    )


def test_copies_stay_in_the_same_split_and_are_noted(write_tree):
    write_tree("cat", 10)
    root = write_tree("dog", 10)
    for number in range(10):
        (root / f"cat/copy{number}.png").write_bytes((root / f"cat/{number:03d}.png").read_bytes())
    (root / "dog/cat.png").write_bytes((root / "cat/000.png").read_bytes())
    pets = open_dataset(f"folder:{root}")
    contents = [{(root / name).read_bytes() for name in split.names} for split in pets.splits.values()]
    assert sum(map(len, contents)) == len(set.union(*contents)) == 20
    assert pets.notes[1:] == (
        "Byte-identical to another image and kept in the same split: 11 images.",
        "Byte-identical images with different classes: 1 image.",
    )


def test_folders_inside_a_class_folder_belong_to_the_class(write_tree):
    write_tree("cat", 3)
    write_tree("cat/2023/summer", 3)
    root = write_tree("dog", 3)
    pets = open_dataset(f"folder:{root}")
    assert pets.classes == ("cat", "dog")
    assert sum(sizes(pets).values()) == 9


def test_junk_files_are_ignored_without_a_note(write_tree):
    write_tree("cat", 3)
    root = write_tree("dog", 3)
    for junk in (".DS_Store", "Thumbs.db", "cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "dog/._000.png"):
        (root / junk).write_bytes(b"")
    write_tree("__MACOSX/cat", 3)
    write_tree(".cache/cat", 3)
    pets = open_dataset(f"folder:{root}")
    assert pets.classes == ("cat", "dog")
    assert sum(sizes(pets).values()) == 6
    assert len(pets.notes) == 1


def test_other_files_are_counted_in_the_notes(write_tree):
    write_tree("cat", 3)
    root = write_tree("dog", 3)
    for other in ("labels.csv", "cat/notes.txt", "cat/README", "dog/clip.mp4"):
        (root / other).write_bytes(b"")
    write_tree("loose.png")
    (root / "nothing").mkdir()
    notes = open_dataset(f"folder:{root}").notes
    assert notes[:3] == (
        "Skipped the folder nothing: it has no images.",
        "Skipped because they are not in a class folder: 1 image.",
        "Skipped because they are not images: 4 files (.csv, .mp4, .txt, no suffix).",
    )


def test_the_note_about_an_empty_class_names_the_split(write_tree):
    write_tree("train/cat", 3)
    root = write_tree("test/cat", 3)
    (root / "test/dog").mkdir()
    assert read_folder(root).notes == ("Skipped the folder test/dog: it has no images.",)


def test_a_folder_beside_the_splits_is_skipped_with_a_note(write_tree):
    for split in ("train", "val", "test"):
        write_tree(f"{split}/cat", 2)
        root = write_tree(f"{split}/dog", 2)
    write_tree("annotations", 1)
    pets = open_dataset(f"folder:{root}")
    assert sizes(pets) == {"train": 4, "validation": 4, "test": 4}
    assert pets.notes == ("Skipped the folder annotations: it is not train, val or test.",)


def test_a_class_may_be_called_train(write_tree):
    write_tree("train", 3)
    write_tree("bus", 3)
    root = write_tree("bicycle", 3)
    assert open_dataset(f"folder:{root}").classes == ("bicycle", "bus", "train")


@pytest.mark.parametrize("name", ["고양이", "ねこ", "が"])
def test_class_names_are_normalised_to_nfc(write_tree, name):
    write_tree(unicodedata.normalize("NFD", name), 3)
    root = write_tree("dog", 3)
    pets = open_dataset(f"folder:{root}")
    assert pets.classes == ("dog", unicodedata.normalize("NFC", name))
    assert all(unicodedata.is_normalized("NFC", name) for name in pets.splits["train"].names)
    assert pets.splits["train"].image(0).shape == (4, 4, 3)


@pytest.mark.skipif(os.name == "nt", reason="file names on Windows are Unicode")
def test_a_name_that_is_not_utf_8_is_escaped(write_tree):
    write_tree("dog", 3)
    root = write_tree(os.fsdecode("猫".encode("shift_jis")), 3)
    pets = open_dataset(f"folder:{root}")
    assert pets.classes == (r"\x94L", "dog")
    json.dumps(pets.assignment, ensure_ascii=False).encode()


def test_the_order_does_not_depend_on_the_file_system(write_tree):
    for label in ("b", "B", "a", "10", "9"):
        root = write_tree(label, 5)
    pets = open_dataset(f"folder:{root}")
    assert pets.classes == ("10", "9", "B", "a", "b")
    assert pets.splits["train"].names == sorted(pets.splits["train"].names)


def error_message(root) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(f"folder:{root}")
    return str(caught.value)


def test_a_missing_folder_is_refused(tmp_path):
    assert error_message(tmp_path / "missing") == (
        f"folder:{tmp_path}/missing does not exist ({tmp_path}/missing): give a folder with a folder of images for "
        "each class."
    )


def test_a_file_is_refused(tmp_path):
    (tmp_path / "pets.zip").write_bytes(b"")
    assert (
        "pets.zip is a file: give a folder with a folder of images for each class. Unpack archives first."
        in error_message(tmp_path / "pets.zip")
    )


def test_an_empty_folder_is_refused(tmp_path):
    assert error_message(tmp_path) == (
        f"folder:{tmp_path} has no images: add a folder of images (.jpg, .png, .webp ...) for each class."
    )


@pytest.mark.parametrize("inside", ["", "train/"])
def test_images_without_class_folders_are_refused(write_tree, inside):
    write_tree(f"{inside}a.png")
    root = write_tree(f"{inside}b.jpg")
    assert error_message(root) == (
        f"folder:{root} has 2 images but no class folders: the class of an image is the folder that contains it, so "
        "move the images of each class into a folder."
    )


def test_a_single_class_is_refused(write_tree):
    root = write_tree("cat", 10)
    assert error_message(root) == (
        f'folder:{root} has only one class, "cat": a classifier needs at least two, so add images of another class.'
    )


def test_a_class_that_only_test_has_is_refused_with_a_suggestion(write_tree):
    for folder in ("train/cat", "train/dog", "test/cat", "test/dogs"):
        root = write_tree(folder, 3)
    assert error_message(root) == (
        f'folder:{root} has the class "dogs" in test but not in train: add images of it to train, or rename it. '
        'Did you mean "dog"?'
    )


def test_splits_without_train_are_refused(write_tree):
    for folder in ("val/cat", "val/dog", "test/cat", "test/dog"):
        root = write_tree(folder, 3)
    assert (
        "has test and validation images but no training images: the split to train on must be called train."
        in error_message(root)
    )


def test_a_class_with_too_few_images_is_refused(write_tree):
    write_tree("cat", 3)
    root = write_tree("dog", 2)
    assert error_message(root) == (
        f'folder:{root} has 2 different images of "dog", but at least 3 are needed to hold some out: add images, or '
        "remove the class."
    )


def test_copies_do_not_count_as_different_images(write_tree):
    write_tree("cat", 3)
    root = write_tree("dog", 2)
    (root / "dog/copy.png").write_bytes((root / "dog/000.png").read_bytes())
    assert 'has 2 different images of "dog"' in error_message(root)
