"""Images of a batch mixed with one another, and their targets with them: mixup and CutMix.

The draws are of torch's CPU generator, which the training seeds for each step and process.

Axes:  image, channel, row, column  of the batch
       class                          of the targets, which sum to 1 over it, or are independent for a sigmoid
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
    """The batch as it is, where neither `mixup` nor `mixup_or_cutmix` is set."""
    if augmentation.mixup is not None:
        share = _share(augmentation.mixup.alpha)
        share = max(share, 1 - share)
        return _blended(images, images.roll(1, 0), share), _blended(targets, targets.roll(1, 0), share)
    either = augmentation.mixup_or_cutmix
    if either is None or _uniform() >= either.probability:
        return images, targets
    if _uniform() < _cutmix_share(either):
        images, share = _cut(images, _share(either.cutmix))
    else:
        share = _share(either.mixup)
        images = _blended(images, images.flip(0), share)
    return images, _blended(targets, targets.flip(0), share)


def _blended(own: Float[Tensor, "*shape"], partner: Float[Tensor, "*shape"], share: float) -> Float[Tensor, "*shape"]:
    return own * share + partner * (1 - share)


def _cut(
    images: Float[Tensor, "image channel row column"], share: float
) -> tuple[Float[Tensor, "image channel row column"], float]:
    """A rectangle of the image's shape about any pixel comes from the partner; the share is what is left.

    Yun et al. 2019, https://arxiv.org/abs/1905.04899. Both halves of an odd side are the smaller half, as in the timm
    that ConvMixer and DaViT were trained with; later ones take one pixel more.
    """
    rows, columns = images.shape[-2:]
    half_height, half_width = (int(side * (1 - share) ** 0.5) // 2 for side in (rows, columns))
    row, column = int(_uniform() * rows), int(_uniform() * columns)
    top, bottom = max(row - half_height, 0), min(row + half_height, rows)
    left, right = max(column - half_width, 0), min(column + half_width, columns)
    cut = images.clone()
    cut[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    return cut, 1 - (bottom - top) * (right - left) / (rows * columns)


def _cutmix_share(either: MixupOrCutmix) -> float:
    """How often a mixed batch is mixed by CutMix."""
    if either.mixup and either.cutmix:
        return either.switch
    return 1.0 if either.cutmix else 0.0


def _share(alpha: float) -> float:
    return Beta(alpha, alpha).sample().item()


def _uniform() -> float:
    return torch.rand((), dtype=torch.float64).item()
