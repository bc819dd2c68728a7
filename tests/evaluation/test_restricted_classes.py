"""Evaluation with the logits of some classes only."""

import numpy as np
import pytest
import torch

from mixlab.data.readers.imagenet_classes import imagenet_synsets
from mixlab.data.readers.imagenet_variants import VARIANTS
from mixlab.errors import UserError
from mixlab.evaluation.restricted_classes import class_columns


def test_the_logits_of_the_classes_are_selected_in_the_order_of_the_classes():
    logits = torch.tensor([[1.0, 9.0, 2.0], [4.0, 5.0, 3.0]])
    columns = class_columns(("c", "a"), ("a", "b", "c"))
    assert logits[:, columns].tolist() == [[2.0, 1.0], [3.0, 4.0]]
    assert logits[:, columns].argmax(dim=1).tolist() == [0, 1]


def test_the_columns_of_imagenet_a_are_those_of_its_authors():
    columns = class_columns(VARIANTS["imagenet-a"].classes, imagenet_synsets())
    assert len(columns) == 200
    assert columns[:8].tolist() == [6, 11, 13, 15, 17, 22, 23, 27] and columns[-3:].tolist() == [986, 987, 988]


def test_the_columns_of_imagenet_r_are_those_of_its_authors():
    columns = class_columns(VARIANTS["imagenet-r"].classes, imagenet_synsets())
    assert len(columns) == 200
    assert columns[:8].tolist() == [1, 2, 4, 6, 8, 9, 11, 13] and columns[-3:].tolist() == [981, 983, 988]


def test_a_set_with_all_classes_is_not_restricted():
    assert np.array_equal(class_columns(VARIANTS["imagenet-v2"].classes, imagenet_synsets()), np.arange(1000))


def test_a_model_without_one_of_the_classes_is_an_error():
    with pytest.raises(
        UserError, match=r"lacks 1 of the 2 classes of the images, such as cats: .*Did you mean \"cat\""
    ):
        class_columns(("cats", "dog"), ("cat", "dog"))
