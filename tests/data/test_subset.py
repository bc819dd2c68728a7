"""A subset of a dataset: which classes, and which training images of each."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Split
from mixlab.data.subset import subset
from mixlab.errors import UserError

CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def dataset() -> Dataset:
    """6, 10 and 14 training images of three classes, 3 of each for validation and test; each image is its own gray."""

    def split(*counts: int) -> Split:
        labels = np.repeat(np.arange(3), counts)
        images = [np.full((4, 4, 3), gray, dtype=np.uint8) for gray in range(len(labels))]
        return Split([f"{gray}.png" for gray in range(len(labels))], labels, images)

    splits = {"train": split(6, 10, 14), "validation": split(3, 3, 3), "test": split(3, 3, 3)}
    return Dataset(name="insects", classes=CLASSES, splits=splits)


def grays(split: Split) -> list[int]:
    return [int(split.image(index)[0, 0, 0]) for index in range(len(split))]


def counts(split: Split) -> dict[int, int]:
    return {int(label): count for label, count in Counter(split.labels.tolist()).items()}


def test_without_settings_all_images_are_used(dataset):
    assert grays(subset(dataset, seed=0).splits["train"]) == grays(dataset.splits["train"])


def test_classes_are_renumbered_in_the_given_order(dataset):
    few = subset(dataset, classes=("cat", "ant"), seed=0)
    assert few.classes == ("cat", "ant")
    assert counts(few.splits["train"]) == {0: 14, 1: 6}
    cats = [
        gray for gray, label in zip(grays(few.splits["test"]), few.splits["test"].labels, strict=True) if label == 0
    ]
    assert cats == [6, 7, 8]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"per_class": 4}, {0: 4, 1: 4, 2: 4}),
        ({"per_class": 12}, {0: 6, 1: 10, 2: 12}),
        ({"share": 0.5}, {0: 3, 1: 5, 2: 7}),
        ({"share": 0.01}, {0: 1, 1: 1, 2: 1}),
    ],
    ids=str,
)
def test_training_images_are_limited_by_class(dataset, settings, expected):
    few = subset(dataset, seed=0, **settings)
    assert counts(few.splits["train"]) == expected
    for name in ("validation", "test"):
        assert grays(few.splits[name]) == grays(dataset.splits[name])


def test_a_larger_subset_contains_a_smaller_one(dataset):
    small, large = (grays(subset(dataset, per_class=count, seed=3).splits["train"]) for count in (2, 5))
    assert set(small) < set(large)


def test_the_seed_selects_the_images(dataset):
    first, again, other = (grays(subset(dataset, per_class=3, seed=seed).splits["train"]) for seed in (0, 0, 1))
    assert first == again != other


def test_an_unknown_class_is_refused_with_a_suggestion(dataset):
    with pytest.raises(
        UserError, match=r'subset\.classes has "bea", which is not a class of insects\. Did you mean "bee"'
    ):
        subset(dataset, classes=("ant", "bea"), seed=0)


def test_each_fold_is_left_out_once_and_has_its_share_of_every_class(dataset):
    everything = grays(dataset.splits["train"])
    left_out = []
    for fold in range(3):
        few = subset(dataset, folds=3, left_out_fold=fold, seed=0)
        remaining = grays(few.splits["train"])
        left_out += sorted(set(everything) - set(remaining))
        assert {
            label: abs(count - 2 * all_of / 3) < 1
            for (label, count), all_of in zip(sorted(counts(few.splits["train"]).items()), (6, 10, 14), strict=True)
        } == {0: True, 1: True, 2: True}
        assert grays(few.splits["test"]) == grays(dataset.splits["test"])
        assert grays(few.splits["validation"]) == grays(dataset.splits["validation"])
    assert sorted(left_out) == everything


def test_a_share_is_of_the_images_outside_the_fold(dataset):
    without = set(grays(subset(dataset, folds=2, left_out_fold=1, seed=0).splits["train"]))
    few = subset(dataset, folds=2, left_out_fold=1, per_class=1, seed=0)
    assert len(few.splits["train"]) == 3
    assert set(grays(few.splits["train"])) < without


def test_images_with_several_labels_are_refused(dataset):
    splits = {
        name: replace(split, labels=np.eye(3, dtype=np.bool_)[split.labels]) for name, split in dataset.splits.items()
    }
    with pytest.raises(UserError, match=r"\[subset\] selects images by their class, but those of insects have masks"):
        subset(replace(dataset, splits=splits), per_class=2, seed=0)


def test_a_split_without_an_image_of_the_classes_is_refused(shades):
    light = np.flatnonzero(shades.splits["validation"].labels == 1)
    splits = shades.splits | {"validation": shades.splits["validation"].subset(light)}
    with pytest.raises(UserError, match=r"The validation split of shades has no image of subset\.classes"):
        subset(replace(shades, splits=splits), classes=["dark"], seed=0)
