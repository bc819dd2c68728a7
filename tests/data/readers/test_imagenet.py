import numpy as np
import pytest
from scipy.io import savemat

from mixlab.data.sources import open_dataset, open_for_evaluation
from mixlab.errors import UserError

SYNSETS = ("n01440764", "n01443537", "n01484850")
VAL_LABELS = [2, 0, 1, 1, 0, 2]  # of the six images of val, as indices into SYNSETS
NUMBERS = (3, 1, 2)  # the numbers of SYNSETS in the development kit, in another order


@pytest.fixture
def root(write_tree):
    """train/ with three classes, and a flat val/."""
    for synset in SYNSETS:
        for number in range(12):
            write_tree(f"train/{synset}/{synset}_{number}.JPEG")
    for number in range(1, 6):
        write_tree(f"val/ILSVRC2012_val_{number:08d}.JPEG")
    return write_tree("val/ILSVRC2012_val_00000006.JPEG")


def write_kit(folder):
    data = folder / "ILSVRC2012_devkit_t12/data"
    data.mkdir(parents=True)
    synsets = np.array(
        [*zip(NUMBERS, SYNSETS, strict=True), (1001, "n00001740")], dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")]
    )
    savemat(data / "meta.mat", {"synsets": synsets})
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{NUMBERS[i]}\n" for i in VAL_LABELS))


def write_kaggle(folder):
    rows = [f"ILSVRC2012_val_{n:08d},{SYNSETS[i]} 1 2 3 4 {SYNSETS[i]} 5 6 7 8" for n, i in enumerate(VAL_LABELS, 1)]
    (folder / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows[::-1]]))


def write_list(folder):
    text = "\n".join(SYNSETS[i] for i in VAL_LABELS)
    (folder / "imagenet_2012_validation_synset_labels.txt").write_text(text + "\n")


@pytest.mark.parametrize("write", [write_kit, write_kaggle, write_list])
def test_a_flat_val_gets_its_classes_from_each_kind_of_file(root, write):
    write(root)
    imagenet = open_dataset(f"imagenet:{root}")
    assert imagenet.name == f"imagenet:{root}"
    assert imagenet.classes == SYNSETS
    assert imagenet.splits["test"].names[0] == "val/ILSVRC2012_val_00000001.JPEG"
    assert imagenet.splits["test"].labels.tolist() == VAL_LABELS
    assert imagenet.splits["test"].image(0).shape == (4, 4, 3)


def test_validation_has_at_least_one_image_of_each_class(root):
    write_list(root)
    imagenet = open_dataset(f"imagenet:{root}")
    assert np.bincount(imagenet.splits["train"].labels).tolist() == [11, 11, 11]
    assert np.bincount(imagenet.splits["validation"].labels).tolist() == [1, 1, 1]
    assert imagenet.assignment == open_dataset(f"imagenet:{root}").assignment
    assert not imagenet.split_by_mixlab
    assert imagenet.notes[0].startswith("1 % of train was held out as validation")


def test_val_with_class_folders_needs_no_other_files(root):
    for number, label in enumerate(VAL_LABELS, 1):
        image = root / f"val/ILSVRC2012_val_{number:08d}.JPEG"
        (root / "val" / SYNSETS[label]).mkdir(exist_ok=True)
        image.rename(root / "val" / SYNSETS[label] / image.name)
    test = open_dataset(f"imagenet:{root}").splits["test"]
    assert test.names[0] == "val/n01440764/ILSVRC2012_val_00000002.JPEG"
    assert sorted(test.labels.tolist()) == sorted(VAL_LABELS)


def test_evaluation_uses_val_without_train(root):
    write_kit(root)
    (root / "train").rename(root / "elsewhere")
    dataset = open_for_evaluation(f"imagenet:{root}", SYNSETS[::-1])
    assert list(dataset.splits) == ["test"]
    assert dataset.splits["test"].labels.tolist() == [2 - label for label in VAL_LABELS]


@pytest.mark.parametrize("subfolder", ["", "imagenet", "ILSVRC/Data/CLS-LOC"])
def test_it_is_found_in_the_data_folder_and_in_kaggles_layout(root, tmp_path, monkeypatch, subfolder):
    folder = tmp_path / "data" / subfolder
    folder.parent.mkdir(parents=True, exist_ok=True)
    root.rename(folder)
    write_kaggle(tmp_path / "data")
    monkeypatch.setenv("MIXLAB_DATA", str(tmp_path / "data"))
    imagenet = open_dataset("imagenet")
    assert imagenet.name == "imagenet"
    assert len(imagenet.splits["test"]) == 6


def error_message(root):
    with pytest.raises(UserError) as caught:
        open_dataset(f"imagenet:{root}")
    return str(caught.value).replace(str(root), "ROOT")


def test_a_folder_without_imagenet_is_refused(tmp_path):
    assert error_message(tmp_path) == (
        "imagenet:ROOT has no train/ in ROOT: unpack ILSVRC2012_img_train.tar into train/, with a folder for each "
        "class, and ILSVRC2012_img_val.tar into val/. Then give the folder that contains both as imagenet:PATH or in "
        "$MIXLAB_DATA."
    )


def test_a_missing_path_is_refused(tmp_path):
    assert error_message(tmp_path / "missing") == (
        "imagenet:ROOT does not exist: give the folder that contains train/ and val/ of ILSVRC 2012, or omit the path "
        "and set $MIXLAB_DATA to that folder."
    )


def test_a_flat_val_without_classes_is_refused(root):
    assert (
        "ROOT/val has no class folders and no file lists the classes of its images: put ILSVRC2012_devkit_t12/"
        in error_message(root)
    )


def test_a_missing_val_is_refused(root):
    (root / "val").rename(root / "validation")
    assert (
        error_message(root) == "ROOT has no val/, which is the test split: unpack ILSVRC2012_img_val.tar into ROOT/val."
    )


def test_an_empty_val_is_refused(root):
    (root / "val").rename(root / "validation")
    (root / "val").mkdir()
    assert error_message(root) == "ROOT/val has no images: unpack ILSVRC2012_img_val.tar into it."


def test_a_train_that_is_not_unpacked_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/n01440764.tar").write_bytes(b"")
    assert "ROOT/train has no images in class folders: unpack each archive" in error_message(tmp_path)


def test_an_image_beyond_the_list_is_refused(root, write_tree):
    write_list(root)
    write_tree("val/ILSVRC2012_val_00000007.JPEG")
    assert "ROOT/val/ILSVRC2012_val_00000007.JPEG has no line in " in error_message(root)


def test_an_image_that_is_not_in_the_table_is_refused(root, write_tree):
    write_kaggle(root)
    write_tree("val/cat.JPEG")
    assert "ROOT/val/cat.JPEG is not listed in ROOT/LOC_val_solution.csv: remove the image" in error_message(root)


def test_a_class_that_only_val_has_is_refused(root):
    write_list(root)
    (root / "train/n01484850").rename(root / "n01484850")
    assert 'ROOT has the class "n01484850" in val but not in train' in error_message(root)


def test_a_class_of_one_image_is_refused(root):
    write_list(root)
    for number in range(11):
        (root / f"train/n01443537/n01443537_{number}.JPEG").unlink()
    assert error_message(root) == ("ROOT has 1 image of n01443537 in train: each class needs at least two images.")
