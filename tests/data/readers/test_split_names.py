import pytest

from mixlab.data.readers.split_names import check_one_name_per_split, find_splits
from mixlab.errors import UserError


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train", "val", "test"], ["train", "validation", "test"]),
        (["Training", "VALID", "Testing"], ["train", "validation", "test"]),
        (["train", "eval"], ["train", "validation"]),
        (["train", "evaluation"], ["train", "validation"]),
        (["seg_train", "seg_test"], ["train", "test"]),
        (["training_set", "test_set"], ["train", "test"]),
        (["train2017", "val2017"], ["train", "validation"]),
        (["TrainImages", "ValidationImages"], ["train", "validation"]),
        (["evaluation-train", "evaluation-test"], ["train", "test"]),
    ],
)
def test_names_of_splits_are_found(names, splits):
    assert find_splits(names) == dict(zip(names, splits, strict=True))


@pytest.mark.parametrize(
    "names", [["bullet_train", "crash_test"], ["strain", "oval"], ["contest", "context"], ["cat_train", "dog_train"]]
)
def test_names_that_contain_the_word_of_a_split_by_chance_are_not_splits(names):
    assert find_splits(names) == {}


def test_names_with_an_affix_are_ignored_beside_names_without_one():
    assert find_splits(["train", "small_train", "small_test"]) == {"train": "train"}


def test_two_names_of_one_split_are_refused():
    with pytest.raises(UserError) as caught:
        check_one_name_per_split("folder:pets", find_splits(["train", "Training", "test"]))
    assert str(caught.value) == "folder:pets has two train splits, train and Training: rename or remove one of them."
