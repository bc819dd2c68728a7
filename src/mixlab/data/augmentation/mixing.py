"""mixup and CutMix: the images of a batch, and their targets, are mixed with each other.

Random numbers come from torch's CPU generator, which training seeds for each step and process.

Axes:  image, channel, row, column  of the batch
       class                          of the targets, which sum to 1 over classes, or are independent for a sigmoid
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Beta

from mixlab.data.augmentation.augment import Augmentation, MixupOrCutmix


def mix(
    images: Float[Tensor, "image channel row column"],
    targets: Float[Tensor, "image class"],
    augmentation: Augmentation,
) -> tuple[Float[Tensor, "image channel row column"], Float[Tensor, "image class"]]:
    """Mix images and targets; return them unchanged if neither `mixup` nor `mixup_or_cutmix` is set."""
    if augmentation.mixup is not None:
        weight = _sample_weight(augmentation.mixup.alpha)
        weight = max(weight, 1 - weight)
        return _blend(images, images.roll(1, 0), weight), _blend(targets, targets.roll(1, 0), weight)
    settings = augmentation.mixup_or_cutmix
    if settings is None or _uniform() >= settings.probability:
        return images, targets
    if _uniform() < _cutmix_probability(settings):
        images, weight = _cutmix(images, _sample_weight(settings.cutmix))
    else:
        weight = _sample_weight(settings.mixup)
        images = _blend(images, images.flip(0), weight)
    return images, _blend(targets, targets.flip(0), weight)


def _blend(a: Float[Tensor, "*shape"], b: Float[Tensor, "*shape"], weight: float) -> Float[Tensor, "*shape"]:
    return a * weight + b * (1 - weight)


def _cutmix(
    images: Float[Tensor, "image channel row column"], weight: float
) -> tuple[Float[Tensor, "image channel row column"], float]:
    """CutMix (Yun et al. 2019, https://arxiv.org/abs/1905.04899).

    A rectangle with the aspect ratio of the image, around a random pixel, is replaced by that of the other image.
    Return the images and the fraction of the area that was not replaced. Half of an odd side is rounded down, as in the
    version of timm that ConvMixer and DaViT were trained with; later versions use one pixel more.
    """
    rows, columns = images.shape[-2:]
    half_height, half_width = (int(side * (1 - weight) ** 0.5) // 2 for side in (rows, columns))
    row, column = int(_uniform() * rows), int(_uniform() * columns)
    top, bottom = max(row - half_height, 0), min(row + half_height, rows)
    left, right = max(column - half_width, 0), min(column + half_width, columns)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (rows * columns)


def _cutmix_probability(settings: MixupOrCutmix) -> float:
    """The probability of CutMix for a batch that is mixed."""
    if settings.mixup and settings.cutmix:
        return settings.switch
    return 1.0 if settings.cutmix else 0.0


def _sample_weight(alpha: float) -> float:
    return Beta(alpha, alpha).sample().item()


def _uniform() -> float:
    return torch.rand((), dtype=torch.float64).item()
