"""Splits of images with several labels."""

import numpy as np
import pytest

from mixlab.data.dataset import Dataset
from mixlab.data.labels import class_counts, present_classes, with_other_classes
from mixlab.data.multilabel import (
    MultilabelSample,
    multilabel_as_provided,
    strata_of,
    with_all_multilabel_splits,
)
from mixlab.errors import UserError


def samples(labels: list[str], start: int = 0) -> list[MultilabelSample]:
    """An image of noise for each text, of which every letter is a label."""
    rng = np.random.default_rng(start)
    return [
        MultilabelSample(frozenset(text), f"{start + index}", rng.integers(0, 256, (9, 9, 3)).astype(np.uint8))
        for index, text in enumerate(labels)
    ]


def dataset(**splits: list[str]) -> Dataset:
    starts = {name: 1000 * number for number, name in enumerate(splits)}
    return multilabel_as_provided("test", {name: samples(texts, starts[name]) for name, texts in splits.items()})


def test_a_stratum_is_the_rarest_label_and_small_strata_and_unlabelled_images_are_one():
    labels = np.zeros((40, 3), dtype=bool)
    labels[:30, 0] = True  # frequent
    labels[:12, 1] = True  # rarer
    labels[12:15, 2] = True  # too rare for a stratum
    assert strata_of(labels).tolist() == [1] * 12 + [3] * 3 + [0] * 15 + [3] * 10


def test_every_label_is_in_all_splits_and_no_image_in_two():
    divided = with_all_multilabel_splits(dataset(train=["ab", "a", "", "b", "c"] * 30), quiet=True)
    assert list(divided.splits) == ["train", "validation", "test"]
    names = [name for split in divided.splits.values() for name in split.names]
    assert sorted(names) == sorted(str(index) for index in range(150))
    for split in divided.splits.values():
        assert len(present_classes(split.labels)) == 3
        expected = [["ab", "a", "", "b", "c"][int(name) % 5] for name in split.names]
        found = ["".join(np.array(divided.classes)[row]) for row in split.labels]
        assert found == expected
    assert divided.split_by_mixlab


def test_provided_splits_are_unchanged_and_a_single_held_out_split_is_the_test_split():
    provided = dataset(train=["ab", "a", "b"] * 10, validation=["a"], test=["b", ""])
    assert with_all_multilabel_splits(provided) is provided
    divided = with_all_multilabel_splits(dataset(train=["ab", "a", "b"] * 20, validation=["a", "b"]), quiet=True)
    assert divided.splits["test"].labels.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["a"] * 20}, r'the same labels on all training images \("a"\), so there is nothing to learn'),
        ({"train": ["a", "b"], "test": ["ac"]}, 'no training image with the label "c": add images with it to train'),
        ({"train": ["a", ""]}, "2 different images, but at least 3 are needed"),
        ({"test": ["a", "b"]}, "no training images"),
    ],
)
def test_mistakes_end_in_a_sentence(splits, message):
    with pytest.raises(UserError, match=message):
        with_all_multilabel_splits(dataset(**splits), quiet=True)


def test_one_label_that_only_some_images_have_can_be_learned():
    divided = with_all_multilabel_splits(dataset(train=["a", ""] * 20), quiet=True)
    assert all(0 < split.labels.sum() < len(split) for split in divided.splits.values())


def test_labels_are_reordered_for_a_model_and_unknown_ones_refused():
    data = dataset(train=["ab", "b"])
    assert data.relabelled(("b", "x", "a")).splits["train"].labels.tolist() == [
        [True, False, True],
        [True, False, False],
    ]
    with pytest.raises(UserError, match="classes that the model was not trained on: a"):
        data.relabelled(("b", "x"))


def test_labels_of_one_class_and_of_several_have_the_same_functions():
    single, several = np.array([2, 0, 2]), np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1]], dtype=bool)
    for labels in (single, several):
        assert present_classes(labels).tolist() == [0, 2]
        assert class_counts(labels, 3).tolist() == [1, 0, 2]
    new = np.array([1, -1, 0])
    assert with_other_classes(single, new, 2).tolist() == [0, 1, 0]
    assert with_other_classes(several, new, 2).tolist() == [[True, False], [False, True], [True, False]]
