"""Predictions for texts do not depend on the other texts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mixlab.data.text.preprocess import TextPreprocess
from mixlab.errors import UserError
from mixlab.prediction.text_predictor import TextPredictor
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import architecture

PREPROCESS = TextPreprocess(tokens=8, features=6, buckets=100)
TEXTS = ["where is it?", "my card was lost in the train to the sea", "hi"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    fields = {"tokens": 8, "features": 6, "buckets": 100, "channels": 16}
    built = architecture("variant:text_mixer", **fields)
    torch.manual_seed(1)
    tensors = {name: torch.randn_like(tensor) for name, tensor in built.build().state_dict().items()}
    weights = Weights(built.family, built.config, tensors)
    write_model_folder(tmp_path, weights, ("no", "yes"), PREPROCESS)
    return tmp_path


def test_a_text_has_the_same_probabilities_alone_and_beside_others(source: Path):
    predictor = TextPredictor(source, device="cpu")
    together = [prediction.probabilities for prediction in predictor.predict(TEXTS)]
    for text, probabilities in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(predictor(text).probabilities, probabilities, atol=1e-5)


def test_a_text_that_is_cut_has_the_answer_of_its_beginning(source: Path):
    predictor = TextPredictor(source, device="cpu")
    assert predictor.is_cut(TEXTS[1]) and not predictor.is_cut(TEXTS[0])
    beginning = " ".join(TEXTS[1].split()[:8])
    np.testing.assert_array_equal(predictor(TEXTS[1]).probabilities, predictor(beginning).probabilities)


def test_a_text_without_words_is_refused(source: Path):
    with pytest.raises(UserError, match="has no words"):
        TextPredictor(source, device="cpu")("")
