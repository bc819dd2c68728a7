"""Halves of a set's classes, and the images of some."""

from dataclasses import replace

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Split
from mixlab.errors import UserError
from mixlab.studies.class_splits import check_enough, class_splits, of_classes

CLASSES = ("ant", "bee", "cat", "dog", "eel")


@pytest.fixture
def animals() -> Dataset:
    """Ten training images of each of five classes, four of the test part, each of one grey that is its number."""

    def split(name: str, n_images: int) -> Split:
        labels = np.arange(n_images) % 5
        images = [np.full((4, 4, 3), number, dtype=np.uint8) for number in range(n_images)]
        return Split([f"{name}/{number}" for number in range(n_images)], labels, images)

    return Dataset("animals", CLASSES, {"train": split("train", 50), "test": split("test", 20)})


def test_splits_are_different_halves_and_the_same_each_time(animals):
    splits = class_splits(animals, 10)
    assert len({split.known for split in splits}) == 10
    for split in splits:
        assert (len(split.known), len(split.new)) == (2, 3)
        assert sorted(split.known + split.new) == list(CLASSES)
    assert class_splits(animals, 3) == splits[:3]


def test_more_splits_than_there_are_are_refused(animals):
    with pytest.raises(UserError, match="which can be split in 10 ways and not in 11"):
        class_splits(animals, 11)


def test_fewer_than_four_classes_are_refused(animals):
    with pytest.raises(UserError, match="animals has 3 classes, and 4 are the least"):
        class_splits(replace(animals, classes=CLASSES[:3]), 2)


def test_the_images_of_some_classes_keep_their_names_and_count_anew(animals):
    found = of_classes(animals, ("bee", "dog"), 4, seed=0)
    train, test = found.splits["train"], found.splits["test"]
    assert np.bincount(train.labels).tolist() == [4, 4]
    assert len(test) == 8
    for split in (train, test):
        places = [int(name.partition("/")[2]) % 5 for name in split.names]
        assert [found.classes[label] for label in split.labels] == [CLASSES[place] for place in places]
    assert found.split_by_mixlab  # so that a run keeps which they are
    assert of_classes(animals, ("bee", "dog"), 4, seed=1).splits["train"].names != train.names


def test_a_class_with_fewer_images_than_shots_is_refused(animals):
    check_enough(animals, 10)
    fewer = animals.splits["train"].subset([index for index in range(50) if index not in (2, 7)])
    with pytest.raises(UserError, match='animals has 8 images of "cat" to train on, and 10 of each new class'):
        check_enough(replace(animals, splits=animals.splits | {"train": fewer}), 10)
