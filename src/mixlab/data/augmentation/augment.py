"""Augmentation with random numbers per image, independent of the rest of the batch and of the workers.

There are two stages. Random crop, RandAugment and colour jitter are applied to uint8 images, one at a time. Flip,
affine, padded crop and random erasing are applied to a batch, on its device, in this order, and for spectrograms a
shift in time after the flip and SpecAugment at the end. The flip comes after
RandAugment, but before it in the reference implementations. Since the signs of the operations are random too, this
changes only which side of the image a vertical shear leaves in place. For mixup and CutMix see
`mixlab.data.augmentation.mixing`.

Axes:  image               an image of a batch
       channel, row, column  its pixels
       uniform               the `UNIFORMS` uniform random numbers of an image in an epoch
"""

from dataclasses import InitVar, dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped, UInt8
from PIL import Image
from torch import Tensor

from mixlab.data.augmentation import affine, crop, erasing, image_operations, jitter, spectrogram
from mixlab.data.augmentation.affine import Affine, apply_affine
from mixlab.data.augmentation.crop import (
    InceptionCrop,
    RandomResizedCrop,
    crop_box,
    interpolation_of,
    pick_interpolation,
)
from mixlab.data.augmentation.erasing import RandomErasing, erase
from mixlab.data.augmentation.jitter import ColorJitter, apply_jitter
from mixlab.data.augmentation.randaugment_tf import RandAugmentTf, randaugment_as_tf
from mixlab.data.augmentation.randaugment_timm import RandAugmentTimm, randaugment_as_timm
from mixlab.data.augmentation.randaugment_torchvision import RandAugmentTorchvision, randaugment_as_torchvision
from mixlab.data.augmentation.resized_crop import read_resized_crop
from mixlab.data.augmentation.spectrogram import SpecAugment, mask_bands_and_frames, shift_in_time
from mixlab.data.augmentation.validation import require
from mixlab.data.dataset import ImageSource, decoded
from mixlab.data.preprocess import Box, Preprocess
from mixlab.errors import UserError

# Each augmentation has its own columns of random numbers, so that enabling one does not change the others.
_FLIP = 0
_AFFINE = slice(1, 1 + affine.UNIFORMS)
_PAD_CROP = slice(_AFFINE.stop, _AFFINE.stop + 2)
_CROP = slice(_PAD_CROP.stop, _PAD_CROP.stop + crop.UNIFORMS)
_RANDAUGMENT = slice(_CROP.stop, _CROP.stop + image_operations.UNIFORMS)
_JITTER = slice(_RANDAUGMENT.stop, _RANDAUGMENT.stop + jitter.UNIFORMS)
_ERASING = slice(_JITTER.stop, _JITTER.stop + erasing.UNIFORMS)
_TIME_SHIFT = _ERASING.stop
_SPEC_AUGMENT = slice(_TIME_SHIFT + 1, _TIME_SHIFT + 1 + spectrogram.UNIFORMS)
UNIFORMS = _SPEC_AUGMENT.stop


@dataclass(frozen=True)
class Mixup:
    """mixup (Zhang et al. 2017, https://arxiv.org/abs/1710.09412), as in big_vision's training of Mixers.

    One weight per batch is sampled from Beta(alpha, alpha). Each image is mixed with the one before it in the batch,
    and gets the larger of the two weights.
    """

    alpha: float

    def __post_init__(self) -> None:
        require(self.alpha > 0, f"mixup.alpha={self.alpha}", "above 0")


@dataclass(frozen=True)
class MixupOrCutmix:
    """mixup or CutMix, chosen at random for each batch as in timm.

    Each image is mixed with the one at the mirrored position of the batch: the first with the last, and so on.

    `mixup`, `cutmix`: the alpha of the beta distribution; 0 disables one of the two.
    `probability`: the probability that a batch is mixed.
    `switch`: the probability of CutMix for a batch that is mixed.
    """

    mixup: float
    cutmix: float
    probability: float = 1.0
    switch: float = 0.5

    def __post_init__(self) -> None:
        name = "mixup_or_cutmix"
        for key in ("mixup", "cutmix"):
            require(getattr(self, key) >= 0, f"{name}.{key}={getattr(self, key)}", "at least 0")
        require(
            max(self.mixup, self.cutmix) > 0, f"{name} with mixup=0 and cutmix=0", "above 0 for at least one of the two"
        )
        for key in ("probability", "switch"):
            require(0 <= getattr(self, key) <= 1, f"{name}.{key}={getattr(self, key)}", "between 0 and 1")


@dataclass(frozen=True)
class Augmentation:
    """The settings of all augmentations; those at their default are disabled.

    `flip`: mirror half of the images horizontally.
    `pad_crop`: shift by up to this number of pixels, with reflection at the edges.
    `time_shift`: shift a spectrogram by up to this fraction of its columns to the left or right.

    Raises UserError for settings out of range, and for several crops, RandAugments or mixings at once.
    """

    flip: bool = False
    affine: Affine | None = None
    pad_crop: int = 0
    random_resized_crop: RandomResizedCrop | None = None
    inception_crop: InceptionCrop | None = None
    randaugment_tf: RandAugmentTf | None = None
    randaugment_timm: RandAugmentTimm | None = None
    randaugment_torchvision: RandAugmentTorchvision | None = None
    color_jitter: ColorJitter | None = None
    random_erasing: RandomErasing | None = None
    mixup: Mixup | None = None
    mixup_or_cutmix: MixupOrCutmix | None = None
    time_shift: float | None = None
    spec_augment: SpecAugment | None = None
    randaugment: InitVar[object] = None  # not a setting: gives an error that names the three variants

    def __post_init__(self, randaugment: object) -> None:
        if randaugment is not None:
            raise UserError(
                f"augmentation.randaugment={randaugment} is ambiguous: write {_one_of(_RANDAUGMENTS)} instead. Their "
                "magnitudes have different scales."
            )
        require(self.pad_crop >= 0, f"pad_crop={self.pad_crop}", "a number of pixels, at least 0")
        if self.time_shift is not None:
            require(0 < self.time_shift < 1, f"time_shift={self.time_shift}", "between 0 and 1, for example 0.1")
        for exclusive in (_CROPS, _RANDAUGMENTS, _MIXINGS):
            given = [name for name in exclusive if getattr(self, name) is not None]
            if len(given) > 1:
                raise UserError(
                    f"augmentation has both {given[0]} and {given[1]}: only one of {_one_of(exclusive)} is allowed. "
                    "Remove the others."
                )

    @property
    def crop(self) -> RandomResizedCrop | InceptionCrop | None:
        """The random crop, if one is set."""
        return self.random_resized_crop or self.inception_crop

    @property
    def changes_each_image(self) -> bool:
        """Whether an augmentation other than the crop is applied to single images."""
        return any(getattr(self, name) is not None for name in (*_RANDAUGMENTS, "color_jitter"))


_CROPS = ("random_resized_crop", "inception_crop")
_RANDAUGMENTS = ("randaugment_tf", "randaugment_timm", "randaugment_torchvision")
_MIXINGS = ("mixup", "mixup_or_cutmix")


def _one_of(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def crop_and_resize(
    image: ImageSource,
    uniforms: Float64[np.ndarray, " uniform"],
    augmentation: Augmentation,
    preprocess: Preprocess,
) -> UInt8[Tensor, "3 rows columns"]:
    """Read an image, and resize it, or a random crop of it, to the input size of the model. Raises UnreadableImage."""
    crop = augmentation.crop
    if crop is None:
        return preprocess.resized(decoded(image, preprocess.decoding))
    return read_resized_crop(
        image if preprocess.spectrogram is None else decoded(image, preprocess.decoding),
        lambda rows, columns: image_crop_box(augmentation, rows, columns, uniforms),
        preprocess.image_size,
        pick_interpolation(interpolation_of(crop, preprocess.interpolation), uniforms[_CROP][-1]),
        preprocess.value_range,
    )


def image_crop_box(
    augmentation: Augmentation, rows: int, columns: int, uniforms: Float64[np.ndarray, " uniform"]
) -> Box:
    """The box of the random crop from an image of `rows` and `columns`, in pixels."""
    assert augmentation.crop is not None
    return crop_box(augmentation.crop, rows, columns, uniforms[_CROP])


def augment_image(
    image: UInt8[Tensor, "3 row column"],
    uniforms: Float64[np.ndarray, " uniform"],
    augmentation: Augmentation,
    preprocess: Preprocess,
) -> UInt8[Tensor, "3 row column"]:
    """The first stage after the crop: apply RandAugment and colour jitter to a resized image."""
    pil_image, layer_uniforms = Image.fromarray(image.permute(1, 2, 0).numpy()), uniforms[_RANDAUGMENT]
    if augmentation.randaugment_tf is not None:
        pil_image = randaugment_as_tf(pil_image, layer_uniforms, augmentation.randaugment_tf)
    if augmentation.randaugment_timm is not None:
        interpolation = interpolation_of(augmentation.crop, preprocess.interpolation)
        settings, mean = augmentation.randaugment_timm, preprocess.mean
        pil_image = randaugment_as_timm(pil_image, layer_uniforms, settings, interpolation, mean)
    if augmentation.randaugment_torchvision is not None:
        pil_image = randaugment_as_torchvision(pil_image, layer_uniforms, augmentation.randaugment_torchvision)
    if augmentation.color_jitter is not None:
        pil_image = apply_jitter(pil_image, uniforms[_JITTER], augmentation.color_jitter)
    return torch.from_numpy(np.array(pil_image)).permute(2, 0, 1)


def rearrange_pixels(
    images: Shaped[Tensor, "image channel row column"],
    uniforms: Float64[np.ndarray, "image uniform"],
    augmentation: Augmentation,
) -> Shaped[Tensor, "image channel row column"]:
    """The first part of the second stage: flip, shift in time, and padded crop unless there is an affine transform.

    It only moves pixels, so it has the same result before and after normalisation, except for the silence of a shift,
    which is 0 before. Pixels are four times smaller there.
    """
    if augmentation.flip:
        images = _flip(images, uniforms[:, _FLIP])
    if augmentation.time_shift is not None:
        images = shift_in_time(images, uniforms[:, _TIME_SHIFT], augmentation.time_shift)
    if augmentation.pad_crop and augmentation.affine is None:
        images = _pad_and_crop(images, uniforms[:, _PAD_CROP], augmentation.pad_crop)
    return images


def augment_normalised(
    images: Float[Tensor, "image channel row column"],
    uniforms: Float64[np.ndarray, "image uniform"],
    augmentation: Augmentation,
    interpolation: Literal["bilinear", "nearest"] = "bilinear",
) -> Float[Tensor, "image channel row column"]:
    """The rest of the second stage: affine and the padded crop after it, and random erasing.

    `interpolation` is that of the affine transform.
    """
    if augmentation.affine is not None:
        images = apply_affine(images, uniforms[:, _AFFINE], augmentation.affine, interpolation)
        if augmentation.pad_crop:
            images = _pad_and_crop(images, uniforms[:, _PAD_CROP], augmentation.pad_crop)
    if augmentation.random_erasing is not None:
        images = erase(images, uniforms[:, _ERASING], augmentation.random_erasing)
    if augmentation.spec_augment is not None:
        images = mask_bands_and_frames(images, uniforms[:, _SPEC_AUGMENT], augmentation.spec_augment)
    return images


def _flip(
    images: Shaped[Tensor, "image channel row column"], uniforms: Float64[np.ndarray, " image"]
) -> Shaped[Tensor, "image channel row column"]:
    flipped = torch.from_numpy(np.flatnonzero(uniforms < 0.5)).to(images.device)
    return images.index_copy(0, flipped, images.index_select(0, flipped).flip(-1))


def _pad_and_crop(
    images: Shaped[Tensor, "image channel row column"], uniforms: Float64[np.ndarray, "image 2"], pad: int
) -> Shaped[Tensor, "image channel row column"]:
    rows, columns = images.shape[-2:]
    row, column = torch.from_numpy(np.floor(uniforms * (2 * pad + 1)).astype(np.int64)).to(images.device).unbind(1)
    windows = _reflect(_reflect(images, pad, 2), pad, 3).unfold(2, rows, 1).unfold(3, columns, 1)
    return windows[torch.arange(len(images), device=images.device), :, row, column]


def _reflect(
    images: Shaped[Tensor, "image channel row column"], pad: int, axis: int
) -> Shaped[Tensor, "image channel padded_row padded_column"]:
    """Pad both ends of an axis with the pixels next to the edge, mirrored: `F.pad`, which is for floats on a GPU."""
    size = images.shape[axis]
    before, after = images.narrow(axis, 1, pad), images.narrow(axis, size - 1 - pad, pad)
    return torch.cat([before.flip(axis), images, after.flip(axis)], dim=axis)
