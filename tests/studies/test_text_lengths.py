"""Texts that are cut, in windows, or read with resized token MLPs."""

import numpy as np
import pytest
import torch

from mixlab.data.dataset import Split
from mixlab.data.text.preprocess import TextPreprocess
from mixlab.data.text.text import Text
from mixlab.studies import text_lengths
from mixlab.studies.text_lengths import correct_in_windows, correct_when_cut, correct_when_resized, resized
from mixlab.weights.adapt import Weights
from mixlab.weights.load import Pretrained, build_with_weights
from mixlab.zoo.architecture import architecture

TOKENS = 4
FIELDS = {"tokens": TOKENS, "features": 6, "buckets": 100, "channels": 8, "channel_hidden": 8, "token_hidden": 8}
TEXTS = ["a", "b c d", "a b c d e f g", "how do i get there from the station", "d c b a d c b a d c b a"]


@pytest.fixture(scope="module")
def pretrained() -> Pretrained:
    built = architecture("variant:text_mixer", **FIELDS, classes=3)
    generator = torch.Generator().manual_seed(0)
    shapes = built.build().state_dict()
    tensors = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in shapes.items()}
    weights = Weights(built.family, built.config, tensors)
    return Pretrained(weights, ("x", "y", "z"), TextPreprocess(TOKENS, 6, 100))  # pyright: ignore


def labelled(predicted: np.ndarray, texts: list[str] = TEXTS) -> Split:
    return Split([str(index) for index in range(len(texts))], predicted, [Text(text) for text in texts])  # pyright: ignore


@torch.inference_mode()
def test_a_cut_text_has_the_answer_of_its_beginning(pretrained: Pretrained):
    network = build_with_weights(pretrained.weights)
    preprocess = pretrained.preprocess
    beginnings = [preprocess(" ".join(text.split()[:2])) for text in TEXTS]  # pyright: ignore
    predicted = network(torch.stack(beginnings)).argmax(dim=1).numpy()
    assert correct_when_cut(pretrained, labelled(predicted), 2).all()


def test_short_texts_have_the_same_answer_in_all_ways(pretrained: Pretrained):
    short = [text for text in TEXTS if len(text.split()) <= TOKENS]
    for label in range(3):
        split = labelled(np.full(len(short), label), short)
        cut = correct_when_cut(pretrained, split, TOKENS)
        assert np.array_equal(correct_in_windows(pretrained, split), cut)
        assert np.array_equal(correct_when_resized(pretrained, split, 12), cut)


@pytest.mark.parametrize(
    ("tokens", "expected"), [(3, ["abc"]), (4, ["abcd"]), (5, ["abcd", "bcde"]), (8, ["abcd", "efgh"])]
)
def test_windows_cover_a_text_and_the_last_one_ends_with_it(tokens: int, expected: list[str]):
    windows = text_lengths._windows(list("abcdefgh"[:tokens]), TOKENS)
    assert ["".join(window) for window in windows] == expected


def test_a_text_of_repeated_windows_has_the_answer_of_one(pretrained: Pretrained):
    split = labelled(np.zeros(1, dtype=np.int64), ["d c b a d c b a d c b a"])
    assert np.array_equal(correct_in_windows(pretrained, split), correct_when_cut(pretrained, split, TOKENS))


def test_resized_token_mlps_have_the_new_length_and_are_restored_by_resizing_back(pretrained: Pretrained):
    larger = resized(pretrained.weights, 9)
    assert larger.tensors["body.0.token_mlp.first.weight"].shape == (8, 9)
    build_with_weights(larger)
    back = resized(larger, TOKENS)
    for name, tensor in pretrained.weights.tensors.items():
        torch.testing.assert_close(back.tensors[name], tensor, atol=1e-4, rtol=1e-4)
