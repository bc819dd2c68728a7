"""Weights for another image size, patch size or number of classes than their file's; each change is said."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from mixlab.errors import UserError
from mixlab.models.contract import ImageSize, height_and_width
from mixlab.models.mixer import MixerConfig
from mixlab.weights.resize import enlarge_exact, resample_token_mlps, resize_patch_kernel
from mixlab.zoo.architecture import FAMILIES, Architecture

_log = logging.getLogger("mixlab")

Resize = Literal["exact", "resampled"]
Tensors = Mapping[str, Tensor]

_STEMS = {"mixer": "stem.weight", "convmixer": "stem.0.weight"}


@dataclass(frozen=True)
class Weights:
    """A model before it is built: every field of its family's config, and its tensors under our names."""

    family: str
    config: Mapping[str, Any]
    tensors: Tensors

    def clone(self) -> "Weights":
        """With tensors of its own, which a training may change."""
        return replace(self, tensors={name: tensor.clone() for name, tensor in self.tensors.items()})

    @property
    def architecture(self) -> Architecture:
        return Architecture(self.family, self.family, self.config)

    @property
    def digest(self) -> str:
        """SHA-256 of every tensor's bytes, in hexadecimal."""
        sum256 = hashlib.sha256()
        for name, tensor in self.tensors.items():
            sum256.update(name.encode() + b"\0" + tensor.contiguous().numpy().tobytes())
        return sum256.hexdigest()


def resize_patches(weights: Weights, patch_size: int) -> Weights:
    """The stem for patches of other pixels; a Mixer keeps its grid, so that its images grow with the patches."""
    before = weights.config["patch_size"] if weights.family in _STEMS else None
    if before is None:
        raise UserError(
            f"patch_size={patch_size} can't be given to a DaViT: its stem overlaps, 7x7 pixels every 4. Leave it out."
        )
    if patch_size == before:
        return weights
    stem = _STEMS[weights.family]
    config = {**weights.config, "patch_size": patch_size}
    if weights.family == "mixer":
        rows, columns = MixerConfig(**weights.config).grid
        config["image_size"] = (rows * patch_size, columns * patch_size)
    _log.warning(f"patch_size={patch_size}: the stem is resized from {before} pixels by the pseudo-inverse.")
    resized = resize_patch_kernel(weights.tensors[stem], (patch_size, patch_size))
    return Weights(weights.family, config, {**weights.tensors, stem: resized})


def resize_input(weights: Weights, image_size: ImageSize, resize: Resize | None, *, window: int | None) -> Weights:
    """For images of `image_size`. `window`: a DaViT's, where the caller has chosen it."""
    if resize is not None and weights.family != "mixer":
        raise UserError(
            f'resize="{resize}" is for a Mixer, whose token MLPs belong to one image size: leave it out, a '
            f"{weights.family} runs at any."
        )
    if height_and_width(image_size) == height_and_width(weights.config["image_size"]):
        return weights
    match weights.family:
        case "mixer":
            return _mixer_at_size(weights, image_size, resize)
        case "davit" if window is None:
            return _davit_at_size(weights, image_size)
        case _:
            _log.warning(f"image_size={image_size}: a {weights.family} runs at any size with the weights as they are.")
            return Weights(weights.family, {**weights.config, "image_size": image_size}, weights.tensors)


def reset_head(weights: Weights, classes: int) -> Weights:
    """A new head starts at zero, as the Mixer's authors fine-tune; none for 0 classes."""
    before = weights.config["classes"]
    if classes == before:
        return weights
    if weights.family == "timm":
        raise UserError(
            f"timm:{weights.config['name']} has a head for {before:,} classes and gets no other for {classes:,}: "
            "mixlab changes its own families alone. Give a Mixer, a ConvMixer or a DaViT."
        )
    config = {**weights.config, "classes": classes}
    tensors = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith("head.")}
    if classes:
        channels = _head_channels(weights)
        tensors |= {"head.weight": torch.zeros(classes, channels), "head.bias": torch.zeros(classes)}
        _log.warning(f"A new head for {classes:,} classes starts at zero, in place of the one for {before:,}.")
    return Weights(weights.family, config, tensors)


def _head_channels(weights: Weights) -> int:
    """Of the features that the head gets."""
    channels = weights.config.get("channels")
    if weights.family in FAMILIES and channels is not None:
        return channels[-1] if weights.family == "davit" else channels
    return weights.tensors["head.weight"].shape[1]


def _mixer_at_size(weights: Weights, image_size: ImageSize, resize: Resize | None) -> Weights:
    before = MixerConfig(**weights.config)
    after = MixerConfig(**{**weights.config, "image_size": image_size})
    factor = _whole_factor(before.grid, after.grid)
    words = f"image_size={image_size}: from {_times(before.grid)} to {_times(after.grid)} patches"
    if resize == "exact" and factor is None:
        height, width = height_and_width(before.image_size)
        raise UserError(
            f'image_size={image_size} can\'t be reached with resize="exact", which enlarges both sides of '
            f"{_times((height, width))} by one whole factor: give {_times((2 * height, 2 * width))} and so on, "
            'or resize="resampled".'
        )
    if factor is None or resize == "resampled":
        _log.warning(f"{words}, the token MLPs are resampled (bilinear; not exact).")
        return Weights("mixer", asdict(after), resample_token_mlps(weights.tensors, before.grid, after.grid))
    hidden = factor * factor * before.token_hidden
    _log.warning(f"{words}, exactly: each part is an image as before, token_hidden={hidden}.")
    config = asdict(after) | {"token_hidden": hidden}
    return Weights("mixer", config, enlarge_exact(weights.tensors, before.grid, factor))


def _davit_at_size(weights: Weights, image_size: ImageSize) -> Weights:
    """The window stays where it divides every stage's grid; else it is the last stage's whole grid, as the authors'."""
    before = weights.config["window"]
    height, width = height_and_width(image_size)
    stages = len(weights.config["channels"])
    last = 4 * 2 ** (stages - 1)  # pixels of a patch of the last stage
    divides = all(side % (4 * 2**stage * before) == 0 for side in (height, width) for stage in range(stages))
    window = height // last if not divides and height == width and height % last == 0 else before
    words = "stays" if window == before else f"goes from {before} to {window} patches"
    padded = "" if divides or window != before else " and is padded at the edges"
    _log.warning(f"image_size={image_size}: the weights are as they were, the window {words}{padded}.")
    return Weights("davit", {**weights.config, "image_size": image_size, "window": window}, weights.tensors)


def _times(sides: tuple[int, int]) -> str:
    return f"{sides[0]} x {sides[1]}"


def _whole_factor(before: tuple[int, int], after: tuple[int, int]) -> int | None:
    factor = after[0] // before[0]
    return factor if after == (factor * before[0], factor * before[1]) else None
