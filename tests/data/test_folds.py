"""k-fold: every image is evaluated once, copies stay together, classes are balanced."""

from dataclasses import replace

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Split
from mixlab.data.folds import Folds, make_folds, single_test_split, training_folds
from mixlab.errors import UserError


def make_dataset(labels: list[int], contents: list[int], **fields: object) -> Dataset:
    """Images of one pixel, with equal bytes for equal contents. The second half is the test split."""
    images = [np.full((1, 1, 3), content, dtype=np.uint8) for content in contents]
    split = Split([f"p{index}" for index in range(len(labels))], np.array(labels), images, **fields)  # pyright: ignore
    half = len(labels) // 2
    splits = {"train": split.subset(list(range(half))), "test": split.subset(list(range(half, len(labels))))}
    return Dataset("pets", tuple("abc"[: max(labels) + 1]), splits)


@pytest.fixture
def pets() -> Dataset:
    """23 different images of a, 11 of b, 7 of c."""
    return make_dataset([0] * 23 + [1] * 11 + [2] * 7, list(range(41)))


def class_counts(folds: Folds) -> np.ndarray:
    """One row per fold, one column per class."""
    labels = folds.images.split.labels
    return np.array([np.bincount(labels[round_.test], minlength=labels.max() + 1) for round_ in folds.rounds()])


def test_every_image_is_tested_once_and_used_for_training_otherwise(pets):
    folds = make_folds(pets, 5)
    rounds = list(folds.rounds())
    assert sorted(np.concatenate([round_.test for round_ in rounds])) == list(range(41))
    assert folds.evaluated.tolist() == list(range(41))
    for round_ in rounds:
        assert sorted(np.concatenate([round_.train, round_.validation, round_.test])) == list(range(41))


def test_validation_is_a_tenth_of_each_class_outside_the_fold(pets):
    folds = make_folds(pets, 5)
    labels = folds.images.split.labels
    for round_ in folds.rounds():
        outside = labels[np.concatenate([round_.train, round_.validation])]
        validation = np.bincount(labels[round_.validation], minlength=3)
        assert validation.tolist() == [max(round(count / 10), 1) for count in np.bincount(outside)]


def test_a_single_test_split_is_one_round(pets):
    folds = single_test_split(pets)
    (round_,) = folds.rounds()
    assert round_.test.tolist() == folds.evaluated.tolist() == list(range(20, 41))
    assert sorted([*round_.train, *round_.validation]) == list(range(20))


def test_fold_sizes_and_class_counts_differ_by_at_most_one(pets):
    counts = class_counts(make_folds(pets, 5))
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_folds_depend_on_the_seed_and_not_on_the_file_order(pets):
    first = [np.flatnonzero(make_folds(pets, 5, seed=seed).fold_of == 0).tolist() for seed in (0, 0, 1)]
    assert first[0] == first[1] != first[2]
    assert first[0] != list(range(0, 41, 5))


def test_copies_stay_together_and_classes_stay_balanced():
    labels = [0] * 60 + [1] * 30
    contents = [index // 3 for index in range(60)] + list(
        range(100, 130)
    )  # three copies of each image of the first class
    folds = make_folds(make_dataset(labels, contents), 5)
    for round_ in folds.rounds():
        contents_by_split = [
            {contents[index] for index in indices} for indices in (round_.train, round_.validation, round_.test)
        ]
        assert sum(map(len, contents_by_split)) == len(set().union(*contents_by_split)) == 50
    assert class_counts(folds).tolist() == [[12, 6]] * 5


def test_images_of_the_same_group_stay_together():
    groups = tuple(f"patient {index // 4}" for index in range(40))
    folds = make_folds(make_dataset([0] * 20 + [1] * 20, list(range(40)), groups=groups), 5)
    for round_ in folds.rounds():
        patients = [{groups[index] for index in indices} for indices in (round_.train, round_.validation, round_.test)]
        assert sum(map(len, patients)) == 10
    assert class_counts(folds).tolist() == [[4, 4]] * 5


@pytest.mark.parametrize("noun", ["image", "sound"])
def test_a_class_with_fewer_different_images_than_folds_is_refused(noun):
    copies = make_dataset([0] * 8 + [1] * 8, [*range(8), 100, 101, 102, 102, 102, 102, 102, 102])
    assert make_folds(copies, 3).count == 3
    sentence = f'pets has 3 different {noun}s of "b", but 4 folds need at least 4: add {noun}s'
    with pytest.raises(UserError, match=sentence):
        make_folds(replace(copies, noun=noun), 4)


@pytest.mark.parametrize("noun", ["image", "sound"])
def test_one_fold_is_refused(pets, noun):
    with pytest.raises(UserError, match=f"folds=1 leaves no {noun}s to train on: there must be at least 2"):
        make_folds(replace(pets, noun=noun), 1)


def test_the_training_images_of_a_dataset_are_divided_once():
    dataset = make_dataset([0, 1, 2] * 8, list(range(24)))
    folds = training_folds(dataset.merge_validation(), 2)
    assert training_folds(dataset.merge_validation(), 2) is folds
    assert training_folds(dataset.merge_validation(), 3) is not folds
