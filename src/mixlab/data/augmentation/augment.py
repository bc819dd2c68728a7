"""Augmentation whose draws belong to the image: who else is in the batch, or which worker reads it, changes nothing.

Two stages. A random crop, a RandAugment and colour jitter work on uint8 images, one at a time. Flip, affine, padded
crop and random erasing work on the whole batch of normalised float images, on whatever device it is. The flip comes
after a RandAugment, where the references have it before: since their signs are drawn, too, all that it changes is on
which side a vertical shear stands still. What mixes images with one another is `mixlab.data.augmentation.mixing`.

Axes:  image               one of a batch
       channel, row, column  its pixels
       draw                  one of the `UNIFORMS` uniform numbers that belong to an image in an epoch
"""

from dataclasses import InitVar, dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mixlab.data.augmentation import affine, crop, erasing, image_operations, jitter
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
from mixlab.data.augmentation.validation import require
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError

# Each augmentation has its own columns of draws, so switching one on leaves the others as they were.
_FLIP = 0
_AFFINE = slice(1, 1 + affine.UNIFORMS)
_PAD_CROP = slice(_AFFINE.stop, _AFFINE.stop + 2)
_CROP = slice(_PAD_CROP.stop, _PAD_CROP.stop + crop.UNIFORMS)
_RANDAUGMENT = slice(_CROP.stop, _CROP.stop + image_operations.UNIFORMS)
_JITTER = slice(_RANDAUGMENT.stop, _RANDAUGMENT.stop + jitter.UNIFORMS)
_ERASING = slice(_JITTER.stop, _JITTER.stop + erasing.UNIFORMS)
UNIFORMS = _ERASING.stop


@dataclass(frozen=True)
class Mixup:
    """Zhang et al. 2017, https://arxiv.org/abs/1710.09412, as big_vision trains Mixers.

    One share for the batch, of Beta(alpha, alpha); the larger one is the image's own, and its partner is the one
    before it.
    """

    alpha: float

    def __post_init__(self) -> None:
        require(self.alpha > 0, f"mixup.alpha={self.alpha}", "above 0")


@dataclass(frozen=True)
class MixupOrCutmix:
    """Either, as timm draws it for the batch: with `probability` at all, and CutMix with `switch` of those.

    `mixup` and `cutmix` are the alphas; one of 0 leaves the other alone. An image's partner is its mirror image in
    the batch: the last one for the first.
    """

    mixup: float
    cutmix: float
    probability: float = 1.0
    switch: float = 0.5

    def __post_init__(self) -> None:
        name = "mixup_or_cutmix"
        for key in ("mixup", "cutmix"):
            require(getattr(self, key) >= 0, f"{name}.{key}={getattr(self, key)}", "at least 0")
        require(max(self.mixup, self.cutmix) > 0, f"{name} of 0 and 0", "above 0 in one of the two")
        for key in ("probability", "switch"):
            require(0 <= getattr(self, key) <= 1, f"{name}.{key}={getattr(self, key)}", "between 0 and 1")


@dataclass(frozen=True)
class Augmentation:
    """`flip` mirrors half of the images; `pad_crop` shifts by up to that many pixels, edges reflected."""

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
    randaugment: InitVar[object] = None  # what somebody writes who doesn't know that there are three

    def __post_init__(self, randaugment: object) -> None:
        if randaugment is not None:
            raise UserError(
                f"augmentation.randaugment={randaugment} does not say on whose scale: write {_one_of(_RANDAUGMENTS)} "
                "in its place, whose magnitudes mean different things."
            )
        require(self.pad_crop >= 0, f"pad_crop={self.pad_crop}", "a number of pixels, at least 0")
        for rivals in (_CROPS, _RANDAUGMENTS, _MIXINGS):
            given = [name for name in rivals if getattr(self, name) is not None]
            if len(given) > 1:
                raise UserError(
                    f"augmentation has both {given[0]} and {given[1]}: it can have one at most of {_one_of(rivals)}. "
                    "Leave the others out."
                )

    @property
    def crop(self) -> RandomResizedCrop | InceptionCrop | None:
        return self.random_resized_crop or self.inception_crop

    @property
    def changes_each_image(self) -> bool:
        """Whether a resized image goes through the first stage."""
        return any(getattr(self, name) is not None for name in (*_RANDAUGMENTS, "color_jitter"))


_CROPS = ("random_resized_crop", "inception_crop")
_RANDAUGMENTS = ("randaugment_tf", "randaugment_timm", "randaugment_torchvision")
_MIXINGS = ("mixup", "mixup_or_cutmix")


def _one_of(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def resized(
    image: UInt8[np.ndarray, "row column 3"],
    uniforms: Float64[np.ndarray, " draw"],
    augmentation: Augmentation,
    preprocess: Preprocess,
) -> UInt8[Tensor, "3 rows columns"]:
    """The image, or the crop of it, at the model's size."""
    if augmentation.crop is None:
        return preprocess.resized(image)
    rows, columns, _ = image.shape
    box = crop_box(augmentation.crop, rows, columns, uniforms[_CROP])
    interpolation = interpolation_of(augmentation.crop, preprocess.interpolation)
    return preprocess.stretched(image, box, pick_interpolation(interpolation, uniforms[_CROP][-1]))


def augment_image(
    image: UInt8[Tensor, "3 row column"],
    uniforms: Float64[np.ndarray, " draw"],
    augmentation: Augmentation,
    preprocess: Preprocess,
) -> UInt8[Tensor, "3 row column"]:
    """The first stage behind the crop: a resized image, of which RandAugment and colour jitter make another."""
    pil_image, of_layers = Image.fromarray(image.permute(1, 2, 0).numpy()), uniforms[_RANDAUGMENT]
    if augmentation.randaugment_tf is not None:
        pil_image = randaugment_as_tf(pil_image, of_layers, augmentation.randaugment_tf)
    if augmentation.randaugment_timm is not None:
        interpolation = interpolation_of(augmentation.crop, preprocess.interpolation)
        settings, mean = augmentation.randaugment_timm, preprocess.mean
        pil_image = randaugment_as_timm(pil_image, of_layers, settings, interpolation, mean)
    if augmentation.randaugment_torchvision is not None:
        pil_image = randaugment_as_torchvision(pil_image, of_layers, augmentation.randaugment_torchvision)
    if augmentation.color_jitter is not None:
        pil_image = apply_jitter(pil_image, uniforms[_JITTER], augmentation.color_jitter)
    return torch.from_numpy(np.array(pil_image)).permute(2, 0, 1)


def augment_batch(
    images: Float[Tensor, "image channel row column"],
    uniforms: Float64[np.ndarray, "image draw"],
    augmentation: Augmentation,
) -> Float[Tensor, "image channel row column"]:
    """The batch's stage: each image flipped, moved, shifted and erased by its own draws, in that order."""
    if augmentation.flip:
        flip = torch.from_numpy(uniforms[:, _FLIP] < 0.5).to(images.device)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    if augmentation.affine is not None:
        images = apply_affine(images, uniforms[:, _AFFINE], augmentation.affine)
    if augmentation.pad_crop:
        images = _shifted(images, uniforms[:, _PAD_CROP], augmentation.pad_crop)
    if augmentation.random_erasing is not None:
        images = erase(images, uniforms[:, _ERASING], augmentation.random_erasing)
    return images


def _shifted(
    images: Float[Tensor, "image channel row column"], uniforms: Float64[np.ndarray, "image 2"], pad: int
) -> Float[Tensor, "image channel row column"]:
    rows, columns = images.shape[-2:]
    offsets = torch.from_numpy(np.floor(uniforms * (2 * pad + 1)).astype(np.int64)).to(images.device)
    padded = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    pil_image = torch.arange(len(images), device=images.device)[:, None, None]
    row = (offsets[:, :1] + torch.arange(rows, device=images.device))[:, :, None]
    column = (offsets[:, 1:] + torch.arange(columns, device=images.device))[:, None, :]
    return padded.movedim(1, -1)[pil_image, row, column].movedim(-1, 1)
