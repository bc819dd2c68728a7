"""Texts that are longer or shorter than those that a Mixer was built for: cut, in windows, or with resized token MLPs.

Axes:  text   texts of a split
       token  tokens of a text
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn

from mixlab.data.dataset import Split
from mixlab.data.text.hashing import hashed, tokens_of
from mixlab.data.text.preprocess import TextPreprocess
from mixlab.data.text.text import Text
from mixlab.weights.adapt import Weights
from mixlab.weights.load import Pretrained, build_with_weights
from mixlab.weights.resize import resample_token_mlps

_BATCH = 256

Correct = Bool[np.ndarray, " text"]


def token_lists(split: Split) -> list[list[str]]:
    """The tokens of each text."""
    return [tokens_of(text.content) for text in split.images if isinstance(text, Text)]


def correct_when_cut(pretrained: Pretrained, split: Split, length: int) -> Correct:
    """Whether each text is classified correctly by its first `length` tokens."""
    cut = [tokens[:length] for tokens in token_lists(split)]
    return _probabilities(build_with_weights(pretrained.weights), pretrained, cut).argmax(axis=1) == split.labels


def correct_in_windows(pretrained: Pretrained, split: Split) -> Correct:
    """Whether each text is classified correctly by the mean probabilities of its windows.

    Windows have the maximum length of the model and do not overlap, except for the last one, which ends with the text.
    """
    length = _preprocess(pretrained).tokens
    windows = [_windows(tokens, length) for tokens in token_lists(split)]
    flat = [window for of_text in windows for window in of_text]
    probabilities = _probabilities(build_with_weights(pretrained.weights), pretrained, flat)
    ends = np.cumsum([len(of_text) for of_text in windows])[:-1]
    means = np.stack([of_text.mean(axis=0) for of_text in np.split(probabilities, ends)])
    return means.argmax(axis=1) == split.labels


def correct_when_resized(pretrained: Pretrained, split: Split, longest: int) -> Correct:
    """Whether each text is classified correctly with token MLPs that are resampled to its own length.

    Texts up to the length of the model use the original weights. Texts are cut after `longest` tokens.
    """
    lists = [tokens[:longest] for tokens in token_lists(split)]
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index, tokens in enumerate(lists):
        groups[max(len(tokens), _preprocess(pretrained).tokens)].append(index)
    predicted = np.empty(len(lists), dtype=np.int64)
    for length, indices in groups.items():
        network = build_with_weights(resized(pretrained.weights, length))
        chosen = [lists[index] for index in indices]
        predicted[indices] = _probabilities(network, pretrained, chosen, length).argmax(axis=1)
    return predicted == split.labels


def resized(weights: Weights, length: int) -> Weights:
    """A Mixer for texts with token MLPs for `length` tokens, resampled like those of images in one row."""
    before = weights.config["tokens"]
    tensors = resample_token_mlps(weights.tensors, (1, before), (1, length)) if length != before else weights.tensors
    return Weights(weights.family, {**weights.config, "tokens": length}, tensors)


def _windows(tokens: list[str], length: int) -> list[list[str]]:
    if len(tokens) <= length:
        return [tokens]
    starts = [*range(0, len(tokens) - length, length), len(tokens) - length]
    return [tokens[start : start + length] for start in starts]


@torch.inference_mode()
def _probabilities(
    network: nn.Module, pretrained: Pretrained, lists: Sequence[list[str]], length: int | None = None
) -> np.ndarray:
    """(text, class) probabilities for lists of tokens."""
    preprocess = _preprocess(pretrained)
    length = length or preprocess.tokens
    found = []
    for start in range(0, len(lists), _BATCH):
        batch = np.stack([_hashed(tokens, length, preprocess) for tokens in lists[start : start + _BATCH]])
        found.append(network(torch.from_numpy(batch).long()).softmax(dim=1).numpy())
    return np.concatenate(found)


def _hashed(tokens: list[str], length: int, preprocess: TextPreprocess) -> np.ndarray:
    return hashed(tokens, length, preprocess.features, preprocess.buckets)


def _preprocess(pretrained: Pretrained) -> TextPreprocess:
    assert isinstance(pretrained.preprocess, TextPreprocess)  # the study trains models for texts only
    return pretrained.preprocess
