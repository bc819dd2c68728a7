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


def test_given_parts_are_taken_as_they_are(write_tree):
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


def test_a_image_is_read_only_when_asked_for(write_tree):
    for split in ("train", "val", "test"):
        write_tree(f"{split}/cat", 2)
        root = write_tree(f"{split}/dog", 2)
    for path in root.rglob("*.png"):
        path.write_bytes(b"broken")
    open_dataset(f"folder:{root}")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_validation_has_several_names(write_tree, name):
    for split in ("train", name, "test"):
        write_tree(f"{split}/cat", 2)
        root = write_tree(f"{split}/dog", 2)
    assert sizes(open_dataset(f"folder:{root}"))["validation"] == 4


@pytest.mark.parametrize("held_out_mask", ["test", "val"])
def test_of_two_parts_the_held_out_one_is_the_test_part(write_tree, held_out_mask):
    write_tree("train/cat", 20)
    write_tree("train/dog", 10)
    write_tree(f"{held_out_mask}/cat", 3)
    root = write_tree(f"{held_out_mask}/dog", 3)
    pets = open_dataset(f"folder:{root}")
    assert sizes(pets) == {"train": 27, "validation": 3, "test": 6}
    assert {name.split("/")[0] for name in pets.splits["test"].names} == {held_out_mask}
    assert np.bincount(pets.splits["validation"].labels).tolist() == [2, 1]
    assert pets.split_by_mixlab
    assert "A tenth of train was held out as validation" in pets.notes[0]
    assert ("is the test part" in pets.notes[0]) == (held_out_mask == "val")


@pytest.mark.parametrize("inside", ["", "train/"])
def test_class_folders_alone_are_cut_in_three(write_tree, inside):
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
        "A fifth of the images was held out as test and a tenth of the rest as validation, by class and seeded.",
    )


def test_copies_of_a_image_stay_on_one_side_and_are_told(write_tree):
    write_tree("cat", 10)
    root = write_tree("dog", 10)
    for number in range(10):
        (root / f"cat/copy{number}.png").write_bytes((root / f"cat/{number:03d}.png").read_bytes())
    (root / "dog/cat.png").write_bytes((root / "cat/000.png").read_bytes())
    pets = open_dataset(f"folder:{root}")
    contents = [{(root / name).read_bytes() for name in split.names} for split in pets.splits.values()]
    assert sum(map(len, contents)) == len(set.union(*contents)) == 20
    assert pets.notes[1:] == (
        "Kept on one side of the cut because their bytes are equal to another's: 11 images.",
        "In more than one class, byte for byte: 1 image.",
    )


def test_folders_below_a_class_belong_to_it(write_tree):
    write_tree("cat", 3)
    write_tree("cat/2023/summer", 3)
    root = write_tree("dog", 3)
    pets = open_dataset(f"folder:{root}")
    assert pets.classes == ("cat", "dog")
    assert sum(sizes(pets).values()) == 9


def test_litter_is_ignored_without_a_word(write_tree):
    write_tree("cat", 3)
    root = write_tree("dog", 3)
    for litter in (".DS_Store", "Thumbs.db", "cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "dog/._000.png"):
        (root / litter).write_bytes(b"")
    write_tree("__MACOSX/cat", 3)
    write_tree(".cache/cat", 3)
    pets = open_dataset(f"folder:{root}")
    assert pets.classes == ("cat", "dog")
    assert sum(sizes(pets).values()) == 6
    assert len(pets.notes) == 1


def test_what_is_no_image_is_counted(write_tree):
    write_tree("cat", 3)
    root = write_tree("dog", 3)
    for other in ("labels.csv", "cat/notes.txt", "cat/README", "dog/clip.mp4"):
        (root / other).write_bytes(b"")
    write_tree("loose.png")
    (root / "nothing").mkdir()
    notes = open_dataset(f"folder:{root}").notes
    assert notes[:3] == (
        "The folder nothing has no images and was left out.",
        "Left out because they lie in no class's folder: 1 image.",
        "Left out because they are no images by their names: 4 (.csv, .mp4, .txt, no ending).",
    )


def test_of_an_empty_class_it_is_told_in_which_part(write_tree):
    write_tree("train/cat", 3)
    root = write_tree("test/cat", 3)
    (root / "test/dog").mkdir()
    assert read_folder(root).notes == ("The folder test/dog has no images and was left out.",)


def test_a_folder_beside_the_parts_is_left_out_and_told(write_tree):
    for split in ("train", "val", "test"):
        write_tree(f"{split}/cat", 2)
        root = write_tree(f"{split}/dog", 2)
    write_tree("annotations", 1)
    pets = open_dataset(f"folder:{root}")
    assert sizes(pets) == {"train": 4, "validation": 4, "test": 4}
    assert pets.notes == ("The folder annotations is none of train, val and test and was left out.",)


def test_a_class_may_be_called_train(write_tree):
    write_tree("train", 3)
    write_tree("bus", 3)
    root = write_tree("bicycle", 3)
    assert open_dataset(f"folder:{root}").classes == ("bicycle", "bus", "train")


@pytest.mark.parametrize("name", ["고양이", "ねこ", "が"])
def test_class_names_of_any_script_are_composed(write_tree, name):
    write_tree(unicodedata.normalize("NFD", name), 3)
    root = write_tree("dog", 3)
    pets = open_dataset(f"folder:{root}")
    assert pets.classes == ("dog", unicodedata.normalize("NFC", name))
    assert all(unicodedata.is_normalized("NFC", name) for name in pets.splits["train"].names)
    assert pets.splits["train"].image(0).shape == (4, 4, 3)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no names that are not Unicode")
def test_a_name_that_is_no_utf_8_can_be_written_down(write_tree):
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


def refused(root) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(f"folder:{root}")
    return str(caught.value)


def test_a_missing_folder_is_refused(tmp_path):
    assert refused(tmp_path / "gone") == (
        f"folder:{tmp_path}/gone is not there ({tmp_path}/gone): give the path of a folder that holds a folder of "
        "images for each class."
    )


def test_a_file_is_refused(tmp_path):
    (tmp_path / "pets.zip").write_bytes(b"")
    assert "pets.zip is a file: unpack it if it is an archive" in refused(tmp_path / "pets.zip")


def test_an_empty_folder_is_refused(tmp_path):
    assert refused(tmp_path) == (
        f"folder:{tmp_path} holds no images: put a folder of them for each class there (.jpg, .png, .webp ...)."
    )


@pytest.mark.parametrize("inside", ["", "train/"])
def test_images_without_class_folders_are_refused(write_tree, inside):
    write_tree(f"{inside}a.png")
    root = write_tree(f"{inside}b.jpg")
    assert refused(root) == (
        f"folder:{root} holds 2 images but no folders of them: an image's class is the folder it lies in, "
        "so give each class a folder."
    )


def test_one_class_is_refused(write_tree):
    root = write_tree("cat", 10)
    assert refused(root) == (
        f'folder:{root} has only one class, "cat": telling classes apart takes two, so add images of another.'
    )


def test_a_class_that_only_test_has_is_refused_with_the_nearest(write_tree):
    for place in ("train/cat", "train/dog", "test/cat", "test/dogs"):
        root = write_tree(place, 3)
    assert refused(root) == (
        f'folder:{root} has the class "dogs" in its test part but not in train, where it is learned: add images of '
        'it there, or rename it. Did you mean "dog"?'
    )


def test_parts_without_train_are_refused(write_tree):
    for place in ("val/cat", "val/dog", "test/cat", "test/dog"):
        root = write_tree(place, 3)
    assert (
        "has test and validation images but none to train on: the part to learn from has to be called train."
        in refused(root)
    )


def test_a_class_with_too_few_images_to_cut_is_refused(write_tree):
    write_tree("cat", 3)
    root = write_tree("dog", 2)
    assert refused(root) == (
        f'folder:{root} has 2 different images of "dog", and 3 are needed to hold some out: add images, or take '
        "the class out."
    )


def test_copies_do_not_make_a_class_large_enough(write_tree):
    write_tree("cat", 3)
    root = write_tree("dog", 2)
    (root / "dog/copy.png").write_bytes((root / "dog/000.png").read_bytes())
    assert 'has 2 different images of "dog"' in refused(root)
