"""Other test sets for models of ImageNet-1k, on imitations with one image per class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.data.readers.imagenet_classes import imagenet_synsets
from mixlab.data.readers.imagenet_variants import VARIANTS
from mixlab.data.sources import open_as_provided, open_dataset, open_for_evaluation
from mixlab.errors import UserError


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "image.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def imitation(tmp_path, png):
    """A function that makes a folder for each name, with a link to an image in each."""

    def make(name, folders):
        for folder in folders:
            (tmp_path / name / folder).mkdir(parents=True)
            (tmp_path / name / folder / f"of_{folder}.png").symlink_to(png)
        return tmp_path / name

    return make


@pytest.mark.parametrize("name", ["imagenet-a", "imagenet-r"])
def test_the_200_classes_are_those_of_timm(name):
    info = pytest.importorskip("timm.data.imagenet_info", reason='needs timm: pip install "mixlab[baselines]"')
    table = Path(info.__file__).parent / "_info" / f"{name.replace('-', '_')}_synsets.txt"
    assert list(VARIANTS[name].classes) == sorted(table.read_text(encoding="utf-8").split())
    assert imagenet_synsets() == tuple(info.ImageNetInfo("imagenet-1k").label_names())


def test_imagenet_v2_has_folders_named_by_class_index(imitation):
    root = imitation("v2", map(str, range(1000)))
    v2 = open_as_provided(f"imagenet-v2:{root}")
    label_of = dict(zip(v2.splits["test"].names, v2.splits["test"].labels.tolist(), strict=True))
    assert [label_of[f"{index}/of_{index}.png"] for index in (0, 1, 2, 10, 100, 999)] == [0, 1, 2, 10, 100, 999]
    assert v2.classes == imagenet_synsets()
    assert v2.notes == (f"{root} has 1,000 images, but 10,000 were published.",)


def test_imagenet_v2_with_folders_named_by_synset_has_the_same_labels(imitation):
    v2 = open_as_provided(f"imagenet-v2:{imitation('v2', imagenet_synsets())}")
    assert v2.splits["test"].labels.tolist() == list(range(1000))


@pytest.mark.parametrize("name", ["imagenet-a", "imagenet-r", "imagenet-sketch"])
def test_a_set_has_only_a_test_split_with_its_own_classes(imitation, name):
    classes = VARIANTS[name].classes
    dataset = open_as_provided(f"{name}:{imitation('set', classes)}")
    assert list(dataset.splits) == ["test"]
    assert dataset.classes == classes == tuple(sorted(classes))
    assert [dataset.classes[label] for label in dataset.splits["test"].labels] == list(classes)


def test_the_labels_for_a_model_are_indices_into_its_classes(imitation):
    model_classes = imagenet_synsets()[::-1]
    test = open_for_evaluation(f"imagenet-a:{imitation('a', VARIANTS['imagenet-a'].classes)}", model_classes).splits
    named = zip(test["test"].names, test["test"].labels, strict=True)
    assert all(name.startswith(model_classes[label]) for name, label in named)


def test_a_set_without_a_path_is_found_in_the_default_folders(imitation, monkeypatch):
    root = imitation("imagenet-a", VARIANTS["imagenet-a"].classes)
    monkeypatch.setenv("MIXLAB_DATA", str(root.parent))
    assert open_as_provided("imagenet-a").splits["test"].images[0] == next(sorted(root.iterdir())[0].iterdir())
    assert open_as_provided("imagenet-a").name == "imagenet-a"


def test_folders_of_other_classes_are_an_error(imitation):
    with pytest.raises(UserError, match=r"n01440764, which is not one of the 200 classes of imagenet-a: give the fold"):
        open_as_provided(f"imagenet-a:{imitation('val', imagenet_synsets())}")


def test_a_class_without_images_is_an_error(imitation):
    root = imitation("part", VARIANTS["imagenet-r"].classes[1:])
    with pytest.raises(UserError, match=r"images of 199 of the 200 classes of imagenet-r, and none of n01443537: unpa"):
        open_as_provided(f"imagenet-r:{root}")


def test_a_missing_set_is_an_error_that_names_its_source(tmp_path):
    with pytest.raises(UserError, match=r"imagenet-sketch is not in .*none: unpack .*HaohanWang/ImageNet-Sketch"):
        open_as_provided(f"imagenet-sketch:{tmp_path / 'none'}")


def test_a_model_cannot_be_trained_on_a_test_set():
    with pytest.raises(UserError, match=r"imagenet-v2 is a test set and has no training images: train on imagenet"):
        open_dataset("imagenet-v2")
