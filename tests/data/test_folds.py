"""k-fold: every image judged once, copies together, classes spread."""

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Split
from mixlab.data.folds import Folds, make_folds, single_test_split
from mixlab.errors import UserError


def set_of(labels: list[int], contents: list[int], **fields: object) -> Dataset:
    """Images of one pixel, equal where their contents are, half of them in the test part."""
    images = [np.full((1, 1, 3), content, dtype=np.uint8) for content in contents]
    split = Split([f"p{index}" for index in range(len(labels))], np.array(labels), images, **fields)  # pyright: ignore
    half = len(labels) // 2
    splits = {"train": split.subset(list(range(half))), "test": split.subset(list(range(half, len(labels))))}
    return Dataset("pets", tuple("abc"[: max(labels) + 1]), splits)


@pytest.fixture
def pets() -> Dataset:
    """23 of a, 11 of b, 7 of c; all different."""
    return set_of([0] * 23 + [1] * 11 + [2] * 7, list(range(41)))


def classes_of(folds: Folds) -> np.ndarray:
    """A row a fold, a column a class."""
    labels = folds.images.split.labels
    return np.array([np.bincount(labels[each.test], minlength=labels.max() + 1) for each in folds.rounds()])


def test_every_image_is_evaluated_once_and_learned_from_otherwise(pets):
    folds = make_folds(pets, 5)
    rounds = list(folds.rounds())
    assert sorted(np.concatenate([each.test for each in rounds])) == list(range(41))
    assert folds.evaluated.tolist() == list(range(41))
    for each in rounds:
        assert sorted(np.concatenate([each.train, each.validation, each.test])) == list(range(41))


def test_settings_are_chosen_on_a_tenth_of_what_a_fold_leaves_of_each_class(pets):
    folds = make_folds(pets, 5)
    labels = folds.images.split.labels
    for each in folds.rounds():
        left = labels[np.concatenate([each.train, each.validation])]
        held = np.bincount(labels[each.validation], minlength=3)
        assert held.tolist() == [max(round(count / 10), 1) for count in np.bincount(left)]


def test_the_test_part_alone_is_one_round(pets):
    folds = single_test_split(pets)
    (only,) = folds.rounds()
    assert only.test.tolist() == folds.evaluated.tolist() == list(range(20, 41))
    assert sorted([*only.train, *only.validation]) == list(range(20))


def test_classes_and_folds_differ_by_one_image_at_most(pets):
    counts = classes_of(make_folds(pets, 5))
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_the_seed_decides_and_the_order_of_the_files_does_not_show(pets):
    first = [np.flatnonzero(make_folds(pets, 5, seed=seed).fold_of == 0).tolist() for seed in (0, 0, 1)]
    assert first[0] == first[1] != first[2]
    assert first[0] != list(range(0, 41, 5))


def test_copies_are_in_one_part_of_a_round_and_leave_the_classes_balanced():
    labels = [0] * 60 + [1] * 30
    contents = [index // 3 for index in range(60)] + list(range(100, 130))  # three copies of each of the first class
    folds = make_folds(set_of(labels, contents), 5)
    for each in folds.rounds():
        seen = [{contents[place] for place in places} for places in (each.train, each.validation, each.test)]
        assert sum(map(len, seen)) == len(set().union(*seen)) == 50
    assert classes_of(folds).tolist() == [[12, 6]] * 5


def test_images_of_one_origin_are_in_one_part_of_a_round():
    groups = tuple(f"patient {index // 4}" for index in range(40))
    folds = make_folds(set_of([0] * 20 + [1] * 20, list(range(40)), groups=groups), 5)
    for each in folds.rounds():
        patients = [{groups[place] for place in places} for places in (each.train, each.validation, each.test)]
        assert sum(map(len, patients)) == 10
    assert classes_of(folds).tolist() == [[4, 4]] * 5


def test_a_class_with_fewer_different_images_than_folds_is_refused():
    copies = set_of([0] * 8 + [1] * 8, [*range(8), 100, 101, 102, 102, 102, 102, 102, 102])
    assert make_folds(copies, 3).count == 3
    with pytest.raises(UserError, match='pets has 3 different images of "b", and 4 folds need as many'):
        make_folds(copies, 4)


def test_one_fold_is_refused(pets):
    with pytest.raises(UserError, match="1 folds leave nothing to train on: give at least 2"):
        make_folds(pets, 1)
