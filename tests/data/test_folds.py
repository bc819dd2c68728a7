"""k-fold: every picture judged once, copies together, classes spread."""

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Part
from mixlab.data.folds import folded
from mixlab.errors import UserError


def set_of(labels: list[int], contents: list[int], **fields: object) -> Dataset:
    """Pictures of one pixel, equal where their contents are, half of them in the test part."""
    pictures = [np.full((1, 1, 3), content, dtype=np.uint8) for content in contents]
    part = Part([f"p{index}" for index in range(len(labels))], np.array(labels), pictures, **fields)  # pyright: ignore
    half = len(labels) // 2
    parts = {"train": part.subset(list(range(half))), "test": part.subset(list(range(half, len(labels))))}
    return Dataset("pets", tuple("abc"[: max(labels) + 1]), parts)


@pytest.fixture
def pets() -> Dataset:
    """23 of a, 11 of b, 7 of c; all different."""
    return set_of([0] * 23 + [1] * 11 + [2] * 7, list(range(41)))


def test_every_picture_is_judged_once_and_learned_from_otherwise(pets):
    folds = folded(pets, 5)
    judged = [name for fold in folds for name in fold.parts["test"].names]
    assert sorted(judged) == sorted(f"p{index}" for index in range(41))
    for fold in folds:
        train, test = (set(fold.parts[name].names) for name in ("train", "test"))
        assert not train & test
        assert len(train | test) == 41
        assert fold.cut_here


def test_classes_and_folds_differ_by_one_picture_at_most(pets):
    counts = np.array([np.bincount(fold.parts["test"].labels, minlength=3) for fold in folded(pets, 5)])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_the_seed_decides_and_the_order_of_the_files_does_not_show(pets):
    names = [folded(pets, 5, seed=seed)[0].parts["test"].names for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert names[0] != [f"p{index}" for index in range(0, 41, 5)]


def test_copies_stay_in_one_fold_and_leave_the_classes_balanced():
    labels = [0] * 60 + [1] * 30
    contents = [index // 3 for index in range(60)] + list(range(100, 130))  # three copies of each of the first class
    folds = folded(set_of(labels, contents), 5)
    seen = [{int(fold.parts["test"].image(i)[0, 0, 0]) for i in range(len(fold.parts["test"]))} for fold in folds]
    assert sum(map(len, seen)) == len(set().union(*seen)) == 50
    assert [np.bincount(fold.parts["test"].labels).tolist() for fold in folds] == [[12, 6]] * 5


def test_pictures_of_one_origin_stay_in_one_fold():
    origins = tuple(f"patient {index // 4}" for index in range(40))
    folds = folded(set_of([0] * 20 + [1] * 20, list(range(40)), origins=origins), 5)
    patients = [set(fold.parts["test"].origins) for fold in folds]
    assert sum(map(len, patients)) == 10
    assert [np.bincount(fold.parts["test"].labels).tolist() for fold in folds] == [[4, 4]] * 5


def test_a_class_with_fewer_different_pictures_than_folds_is_refused():
    copies = set_of([0] * 8 + [1] * 8, [*range(8), 100, 101, 102, 102, 102, 102, 102, 102])
    assert len(folded(copies, 3)) == 3
    with pytest.raises(UserError, match='pets has 3 different pictures of "b", and 4 folds need as many'):
        folded(copies, 4)


def test_one_fold_is_refused(pets):
    with pytest.raises(UserError, match="1 folds leave nothing to train on: give at least 2"):
        folded(pets, 1)
