import numpy as np
import pytest
from scipy.io import savemat

from mixlab.data.sources import open_dataset, open_for_evaluation
from mixlab.errors import UserError

SYNSETS = ("n01440764", "n01443537", "n01484850")
ANSWERS = [2, 0, 1, 1, 0, 2]  # of the six images of val, as places in SYNSETS
NUMBERS = (3, 1, 2)  # the numbers of SYNSETS in the development kit, which are not in their order


@pytest.fixture
def root(write_tree):
    """train/ with three classes, and a flat val/."""
    for synset in SYNSETS:
        for number in range(12):
            write_tree(f"train/{synset}/{synset}_{number}.JPEG")
    for number in range(1, 6):
        write_tree(f"val/ILSVRC2012_val_{number:08d}.JPEG")
    return write_tree("val/ILSVRC2012_val_00000006.JPEG")


def put_kit(folder):
    data = folder / "ILSVRC2012_devkit_t12/data"
    data.mkdir(parents=True)
    synsets = np.array(
        [*zip(NUMBERS, SYNSETS, strict=True), (1001, "n00001740")], dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")]
    )
    savemat(data / "meta.mat", {"synsets": synsets})
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{NUMBERS[i]}\n" for i in ANSWERS))


def put_kaggle(folder):
    rows = [f"ILSVRC2012_val_{n:08d},{SYNSETS[i]} 1 2 3 4 {SYNSETS[i]} 5 6 7 8" for n, i in enumerate(ANSWERS, 1)]
    (folder / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows[::-1]]))


def put_list(folder):
    text = "\n".join(SYNSETS[i] for i in ANSWERS)
    (folder / "imagenet_2012_validation_synset_labels.txt").write_text(text + "\n")


@pytest.mark.parametrize("put", [put_kit, put_kaggle, put_list])
def test_a_flat_val_gets_its_classes_from_each_source_that_tells_them(root, put):
    put(root)
    imagenet = open_dataset(f"imagenet:{root}")
    assert imagenet.name == f"imagenet:{root}"
    assert imagenet.classes == SYNSETS
    assert imagenet.splits["test"].names[0] == "val/ILSVRC2012_val_00000001.JPEG"
    assert imagenet.splits["test"].labels.tolist() == ANSWERS
    assert imagenet.splits["test"].image(0).shape == (4, 4, 3)


def test_one_in_a_hundred_of_train_and_at_least_one_of_a_class_is_validation(root):
    put_list(root)
    imagenet = open_dataset(f"imagenet:{root}")
    assert np.bincount(imagenet.splits["train"].labels).tolist() == [11, 11, 11]
    assert np.bincount(imagenet.splits["validation"].labels).tolist() == [1, 1, 1]
    assert imagenet.assignment == open_dataset(f"imagenet:{root}").assignment
    assert not imagenet.split_by_mixlab
    assert imagenet.notes[0].startswith("One in a hundred of train was held out as validation")


def test_val_with_class_folders_needs_nothing_else(root):
    for number, answer in enumerate(ANSWERS, 1):
        image = root / f"val/ILSVRC2012_val_{number:08d}.JPEG"
        (root / "val" / SYNSETS[answer]).mkdir(exist_ok=True)
        image.rename(root / "val" / SYNSETS[answer] / image.name)
    test = open_dataset(f"imagenet:{root}").splits["test"]
    assert test.names[0] == "val/n01440764/ILSVRC2012_val_00000002.JPEG"
    assert sorted(test.labels.tolist()) == sorted(ANSWERS)


def test_a_finished_model_is_evaluated_on_val_without_train(root):
    put_kit(root)
    (root / "train").rename(root / "elsewhere")
    unseen = open_for_evaluation(f"imagenet:{root}", SYNSETS[::-1])
    assert list(unseen.splits) == ["test"]
    assert unseen.splits["test"].labels.tolist() == [2 - answer for answer in ANSWERS]


@pytest.mark.parametrize("inside", ["", "imagenet", "ILSVRC/Data/CLS-LOC"])
def test_it_is_found_in_the_folder_of_data_and_as_kaggle_packs_it(root, tmp_path, monkeypatch, inside):
    place = tmp_path / "data" / inside
    place.parent.mkdir(parents=True, exist_ok=True)
    root.rename(place)
    put_kaggle(tmp_path / "data")
    monkeypatch.setenv("MIXLAB_DATA", str(tmp_path / "data"))
    imagenet = open_dataset("imagenet")
    assert imagenet.name == "imagenet"
    assert len(imagenet.splits["test"]) == 6


def refused(root):
    with pytest.raises(UserError) as caught:
        open_dataset(f"imagenet:{root}")
    return str(caught.value).replace(str(root), "ROOT")


def test_a_folder_without_it_is_refused(tmp_path):
    assert refused(tmp_path) == (
        "imagenet:ROOT has no train/ in ROOT: unpack ILSVRC2012_img_train.tar into train/, a folder for each class, "
        "and ILSVRC2012_img_val.tar into val/, and name the folder of both as imagenet:PATH or in $MIXLAB_DATA."
    )


def test_a_path_that_is_not_there_is_refused(tmp_path):
    assert refused(tmp_path / "nowhere") == (
        "imagenet:ROOT is not there: give the folder that holds ILSVRC 2012's train/ and val/, or leave the path out "
        "and set $MIXLAB_DATA to it."
    )


def test_a_flat_val_that_nothing_tells_about_is_refused(root):
    assert "ROOT/val is flat and nothing tells its images' classes: put ILSVRC2012_devkit_t12/" in refused(root)


def test_a_missing_val_is_refused(root):
    (root / "val").rename(root / "validation")
    assert refused(root) == "ROOT has no val/, which is the test part: unpack ILSVRC2012_img_val.tar there."


def test_an_empty_val_is_refused(root):
    (root / "val").rename(root / "validation")
    (root / "val").mkdir()
    assert refused(root) == "ROOT/val has no images: unpack ILSVRC2012_img_val.tar there."


def test_a_train_that_is_not_unpacked_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/n01440764.tar").write_bytes(b"")
    assert "ROOT/train has no images in folders of classes: unpack the archives" in refused(tmp_path)


def test_a_image_beyond_the_answers_is_refused(root, write_tree):
    put_list(root)
    write_tree("val/ILSVRC2012_val_00000007.JPEG")
    assert "ROOT/val/ILSVRC2012_val_00000007.JPEG is not told about in " in refused(root)


def test_a_image_that_the_table_does_not_know_is_refused(root, write_tree):
    put_kaggle(root)
    write_tree("val/cat.JPEG")
    assert "ROOT/val/cat.JPEG is not told about in ROOT/LOC_val_solution.csv: take it out" in refused(root)


def test_a_class_that_only_val_has_is_refused(root):
    put_list(root)
    (root / "train/n01484850").rename(root / "n01484850")
    assert 'ROOT has the class "n01484850" in val but not in train' in refused(root)


def test_a_class_of_one_image_is_refused(root):
    put_list(root)
    for number in range(11):
        (root / f"train/n01443537/n01443537_{number}.JPEG").unlink()
    assert refused(root) == (
        "ROOT has 1 image of n01443537 in train: training takes two classes, and two images of each."
    )
