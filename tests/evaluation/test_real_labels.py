"""Evaluation with the ReaL labels: mapping by file name, images that are not counted, and files of another kind."""

import json

import numpy as np
import pytest

from mixlab.data.readers.imagenet_classes import imagenet_synsets
from mixlab.errors import UserError
from mixlab.evaluation.real_labels import imagenet_indices, read_real_labels, real_accuracy, real_correct

LABELS = [frozenset[int]()] * 50_000
LABELS[0], LABELS[292], LABELS[49_999] = frozenset({3}), frozenset({7, 900}), frozenset({0})


def names(*numbers):
    return [f"val/ILSVRC2012_val_{number:08d}.JPEG" for number in numbers]


@pytest.fixture(scope="module")
def published(shared_data):
    file = shared_data / "real.json"
    if not file.is_file():
        pytest.skip("needs real.json in $MIXLAB_DATA or ../shared/data")
    return file


def test_images_are_matched_by_the_number_in_their_names():
    correct, counted = real_correct(names(50_000, 293, 1), np.array([0, 900, 4]), LABELS)
    assert correct.tolist() == [True, True, False]
    assert counted.tolist() == [True, True, True]


def test_an_image_without_a_class_is_neither_correct_nor_counted():
    correct, counted = real_correct(names(1, 2, 293), np.array([3, 3, 3]), LABELS)
    assert (correct.tolist(), counted.tolist()) == ([True, False, False], [True, False, True])
    accuracy = real_accuracy(names(1, 2, 293), np.array([3, 3, 3]), LABELS)
    assert (accuracy.value, accuracy.n) == (50, 2)


def test_a_name_may_end_in_the_synset_and_have_any_folder():
    found = ["n01440764/ILSVRC2012_val_00000293_n01440764.JPEG", "ILSVRC2012_val_00000293.png"]
    assert real_correct(found, np.array([7, 8]), LABELS)[0].tolist() == [True, False]


@pytest.mark.parametrize(
    "name", ["val/n01440764_1.JPEG", "ILSVRC2012_val_00000000.JPEG", "ILSVRC2012_val_00050001.JPEG", "293.JPEG"]
)
def test_a_name_of_another_set_is_an_error(name):
    with pytest.raises(UserError, match=rf"^{name} is not an image of the ImageNet validation set, which ReaL has lab"):
        real_correct([*names(1), name], np.array([3, 3]), LABELS)


def test_a_model_with_more_classes_is_an_error():
    with pytest.raises(UserError, match=r"has predicted class 1000, but ReaL has the 1,000 classes of ImageNet-1k"):
        real_correct(names(1), np.array([1000]), LABELS)


def test_images_without_any_class_have_no_accuracy():
    with pytest.raises(UserError, match=r"None of the 2 images has a class in ReaL: evaluate on more images"):
        real_accuracy(names(2, 3), np.array([1, 1]), LABELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[1], [2]]", "has a list of 2 instead of a list of 50,000 lists of classes: give real.json of https://git"),
        ('{"1": [2]}', "has a dict instead of a list of 50,000"),
        ("[[1], ", r"is not valid JSON \(.*\): give real.json"),
        (
            json.dumps([[1]] * 49_999 + [[1000]]),
            r"has \[1000\] for image 50,000: it must be a list of classes from 0 to 999",
        ),
        (json.dumps([3] * 50_000), "has 3 for image 1: it must be a list of classes"),
        (json.dumps([["cat"]] * 50_000), r'has \["cat"\] for image 1: it must be a list of classes'),
    ],
)
def test_a_file_of_another_kind_is_an_error(tmp_path, content, message):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(UserError, match=f"labels.json {message}"):
        read_real_labels(tmp_path / "labels.json")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"none.json can't be read: "):
        read_real_labels(tmp_path / "none.json")


def test_the_published_labels_count_46837_images(published):
    labels = read_real_labels(published)
    first = np.array([min(classes, default=0) for classes in labels])
    correct, counted = real_correct(names(*range(1, 50_001)), first, labels)
    assert counted.sum() == correct.sum() == 46_837
    assert sum(map(len, labels)) == 57_553 and max(map(len, labels)) == 9


def test_the_accuracy_is_that_of_timm(published):
    timm_data = pytest.importorskip("timm.data", reason='needs timm: pip install "mixlab[baselines]"')
    import torch

    numbers = np.random.default_rng(0).permutation(np.arange(1, 50_001))
    labels = read_real_labels(published)
    likely = torch.tensor([min(labels[number - 1], default=5) for number in numbers])
    predictions = torch.where(torch.arange(50_000) % 2 == 0, likely, (likely + 1) % 1000)
    theirs = timm_data.RealLabelsImagenet(names(*numbers.tolist()), real_json=str(published))
    for some in predictions.split(1000):
        theirs.add_result(torch.nn.functional.one_hot(some, 1000).float())
    ours = real_accuracy(names(*numbers.tolist()), predictions.numpy(), labels)
    assert ours.value == pytest.approx(theirs.get_accuracy(k=1), abs=1e-9)
    assert 50 < ours.value < 60


def test_classes_are_found_by_their_synsets():
    synsets = imagenet_synsets()
    assert imagenet_indices([synsets[500], synsets[3]]).tolist() == [500, 3]
    assert imagenet_indices(synsets).tolist() == list(range(1000))
    assert imagenet_indices([f"class {index}" for index in range(1000)]).tolist() == list(range(1000))


@pytest.mark.parametrize("classes", [["cat", "dog"], [*imagenet_synsets()[:5], "cat"]])
def test_classes_that_are_not_those_of_imagenet_are_refused(classes):
    with pytest.raises(UserError, match='and "cat" is not the name of one of them: evaluate a model whose classes are'):
        imagenet_indices(classes)
