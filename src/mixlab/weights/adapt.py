"""Adapts weights to another image size, patch size or number of classes. Every change is logged."""

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
from mixlab.zoo.architecture import FAMILIES, Architecture, make_config

_log = logging.getLogger("mixlab")

Resize = Literal["exact", "resampled"]
Tensors = Mapping[str, Tensor]

_BACKBONE = "backbone."

_STEMS = {"mixer": "stem.weight", "convmixer": "stem.0.weight"}


@dataclass(frozen=True)
class Weights:
    """A model that is not built yet.

    `family` is "mixer", "convmixer", "davit" or "timm", `config` has every field of the config of the family, and
    `tensors` have the names of the state dict of the model.
    """

    family: str
    config: Mapping[str, Any]
    tensors: Tensors

    def clone(self) -> "Weights":
        """A copy with its own tensors, for example for training."""
        return replace(self, tensors={name: tensor.clone() for name, tensor in self.tensors.items()})

    @property
    def architecture(self) -> Architecture:
        return Architecture(self.family, self.family, self.config)

    @property
    def digest(self) -> str:
        """SHA-256 of the names and bytes of all tensors, in hexadecimal."""
        checksum = hashlib.sha256()
        for name, tensor in self.tensors.items():
            checksum.update(name.encode() + b"\0" + tensor.contiguous().numpy().tobytes())
        return checksum.hexdigest()

    @property
    def key(self) -> dict[str, Any]:
        """What determines the outputs of the model, for the keys of caches, as JSON-serializable values."""
        code = self.architecture.code_digest
        return {"family": self.family, "config": dict(self.config), "code": code, "weights": self.digest}


def resize_patches(weights: Weights, patch_size: int) -> Weights:
    """Resizes the stem to patches of `patch_size` pixels (Beyer et al. 2023, section 3).

    The grid of a Mixer stays the same, so its image size changes with the patches. Raises UserError for a DaViT.
    """
    before = weights.config["patch_size"] if weights.family in _STEMS else None
    if before is None:
        raise UserError(
            f"patch_size={patch_size} does not apply to a DaViT: its stem has overlapping 7x7 patches with stride 4. "
            "Leave it out."
        )
    if patch_size == before:
        return weights
    stem = _STEMS[weights.family]
    config = {**weights.config, "patch_size": patch_size}
    if weights.family == "mixer":
        rows, columns = MixerConfig(**weights.config).grid
        config["image_size"] = (rows * patch_size, columns * patch_size)
    _log.warning(f"patch_size={patch_size}: the stem is resized from {before} pixels with the pseudo-inverse.")
    resized = resize_patch_kernel(weights.tensors[stem], (patch_size, patch_size))
    return Weights(weights.family, config, {**weights.tensors, stem: resized})


def resize_input(weights: Weights, image_size: ImageSize, resize: Resize | None, *, window: int | None) -> Weights:
    """Adapts weights to images of `image_size` pixels.

    `resize` selects how the token MLPs of a Mixer are resized; None resizes exactly if possible, and resamples
    otherwise. `window` is the window of a DaViT if the caller has set it; None adapts the window to the image size.
    Raises UserError if `resize` is given for another family, or "exact" is not possible.
    """
    if resize is not None and weights.family != "mixer":
        raise UserError(
            f'resize="{resize}" applies only to a Mixer, since its token MLPs depend on the image size. '
            f"A {weights.family} runs at any size: leave it out."
        )
    if height_and_width(image_size) == height_and_width(weights.config["image_size"]):
        return weights
    match weights.family:
        case "mixer":
            return _resize_mixer(weights, image_size, resize)
        case "davit" if window is None:
            return _resize_davit(weights, image_size)
        case _:
            _log.warning(f"image_size={image_size}: a {weights.family} runs at any size, the weights do not change.")
            return Weights(weights.family, {**weights.config, "image_size": image_size}, weights.tensors)


def backbone_of(weights: Weights) -> Weights:
    """The network of a segmenter without its decoder; other weights are returned unchanged."""
    if weights.family != "segmenter":
        return weights
    tensors = {
        name.removeprefix(_BACKBONE): tensor for name, tensor in weights.tensors.items() if name.startswith(_BACKBONE)
    }
    family = weights.config["backbone"]
    return Weights(family, asdict(make_config(family, weights.config["backbone_config"])), tensors)


def resize_segmenter(weights: Weights, image_size: ImageSize, resize: Resize | None) -> Weights:
    """Adapts the network of a segmenter to images of `image_size` pixels as `resize_input`; its decoder has any size.

    Raises UserError for a network that is not of mixlab's families.
    """
    backbone = backbone_of(weights)
    if backbone.family not in FAMILIES:
        raise UserError(
            f"image_size={image_size} is not supported for weights of family {backbone.family}: mixlab changes only "
            "Mixers, ConvMixers and DaViTs. Leave it out."
        )
    resized = resize_input(backbone, image_size, resize, window=None)
    decoder = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith(_BACKBONE)}
    tensors = {f"{_BACKBONE}{name}": tensor for name, tensor in resized.tensors.items()} | decoder
    config = {**weights.config, "image_size": resized.config["image_size"], "backbone_config": resized.config}
    return Weights(weights.family, config, tensors)


def reset_head(weights: Weights, classes: int) -> Weights:
    """Replaces the head as `new_head` does, but only if `classes` differs from its number of classes."""
    return weights if classes == weights.config["classes"] else new_head(weights, classes)


def new_head(weights: Weights, classes: int) -> Weights:
    """Replaces the head by one that is zero, as in the fine-tuning of Tolstikhin et al. 2021; 0 classes remove it.

    Raises UserError for a timm model.
    """
    before = weights.config["classes"]
    if weights.family == "segmenter":
        raise UserError(
            f"A segmenter has a decoder for {before:,} classes, which can't be replaced by one for {classes:,}: train "
            "a new one that starts from it, with initialization.weights."
        )
    if weights.family == "timm":
        raise UserError(
            f"timm:{weights.config['name']} has a head for {before:,} classes, which can't be replaced by one for "
            f"{classes:,}: mixlab changes only its own families. Use a Mixer, ConvMixer or DaViT."
        )
    config = {**weights.config, "classes": classes}
    tensors = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith("head.")}
    if classes:
        channels = _head_channels(weights)
        tensors |= {
            name: torch.zeros(shape, dtype=torch.float32, device="cpu")
            for name, shape in (("head.weight", (classes, channels)), ("head.bias", (classes,)))
        }
        _log.warning(
            f"The head for {before:,} classes is replaced by a new one for {classes:,} classes, which is zero."
        )
    return Weights(weights.family, config, tensors)


def _head_channels(weights: Weights) -> int:
    """The width of the features that the head gets."""
    channels = weights.config.get("channels")
    if weights.family in FAMILIES and channels is not None:
        return channels[-1] if weights.family == "davit" else channels
    return weights.tensors["head.weight"].shape[1]


def _resize_mixer(weights: Weights, image_size: ImageSize, resize: Resize | None) -> Weights:
    before = MixerConfig(**weights.config)
    after = MixerConfig(**{**weights.config, "image_size": image_size})
    factor = _integer_factor(before.grid, after.grid)
    change = f"image_size={image_size}: from {_times(before.grid)} to {_times(after.grid)} patches"
    if resize == "exact" and factor is None:
        height, width = height_and_width(before.image_size)
        raise UserError(
            f'image_size={image_size} is not possible with resize="exact", which enlarges both sides of '
            f"{_times((height, width))} by the same integer factor: give {_times((2 * height, 2 * width))} or another "
            'multiple, or resize="resampled".'
        )
    if factor is None or resize == "resampled":
        _log.warning(f"{change}, the token MLPs are resampled (bilinear, not exact).")
        return Weights("mixer", asdict(after), resample_token_mlps(weights.tensors, before.grid, after.grid))
    hidden = factor * factor * before.token_hidden
    _log.warning(f"{change}, exact: each tile is processed like an image of the old size, token_hidden={hidden}.")
    config = asdict(after) | {"token_hidden": hidden}
    return Weights("mixer", config, enlarge_exact(weights.tensors, before.grid, factor))


def _resize_davit(weights: Weights, image_size: ImageSize) -> Weights:
    """Keeps the window if it divides the grid of every stage. Otherwise the window becomes the whole grid of the last
    stage, as in the authors' models for 384 and 512 pixels; this needs a square image that the last stage divides.
    """
    before = weights.config["window"]
    height, width = height_and_width(image_size)
    stages = len(weights.config["channels"])
    last = 4 * 2 ** (stages - 1)  # pixels of a patch in the last stage
    divides = all(side % (4 * 2**stage * before) == 0 for side in (height, width) for stage in range(stages))
    window = height // last if not divides and height == width and height % last == 0 else before
    change = f"stays {before} patches" if window == before else f"changes from {before} to {window} patches"
    padding = "" if divides or window != before else ", and the grid is padded"
    _log.warning(f"image_size={image_size}: the weights do not change, the window {change}{padding}.")
    return Weights("davit", {**weights.config, "image_size": image_size, "window": window}, weights.tensors)


def _times(sides: tuple[int, int]) -> str:
    return f"{sides[0]} x {sides[1]}"


def _integer_factor(before: tuple[int, int], after: tuple[int, int]) -> int | None:
    factor = after[0] // before[0]
    return factor if after == (factor * before[0], factor * before[1]) else None
