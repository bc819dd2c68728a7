"""The preprocessing of texts."""

import pytest
import torch

from mixlab.data.any_preprocess import preprocess_from_dict, require_images
from mixlab.data.text.preprocess import TextPreprocess
from mixlab.errors import UserError

PREPROCESS = TextPreprocess(tokens=4, features=6, buckets=100)


def test_a_text_becomes_indices_of_a_fixed_shape():
    indices = PREPROCESS("where is my card, please?")
    assert indices.shape == (4, 6) and indices.dtype == torch.int64
    assert PREPROCESS("card").count_nonzero(dim=1).tolist() == [6, 0, 0, 0]


def test_a_text_without_words_is_refused():
    with pytest.raises(UserError, match="has no words"):
        PREPROCESS(" \n")


def test_it_is_restored_from_its_values():
    assert preprocess_from_dict(PREPROCESS.to_dict()) == PREPROCESS
    with pytest.raises(UserError, match="has the keys"):
        TextPreprocess.from_dict({"tokens": 4})


def test_it_is_no_preprocessing_of_images():
    with pytest.raises(UserError, match="The model reads texts"):
        require_images(PREPROCESS)
