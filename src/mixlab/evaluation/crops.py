"""The evaluation crops of the MLP-Mixer paper, by name.

Tolstikhin et al. 2021, "MLP-Mixer: An all-MLP Architecture for Vision", https://arxiv.org/abs/2105.01601, appendix C:
table 2 uses "resize-crop", table 3 "resmall-crop". The sizes for 224 pixels are scaled to other image sizes.
"""

from dataclasses import replace

from mixlab.data.preprocess import Preprocess, Resize
from mixlab.errors import UserError, did_you_mean

CROPS: dict[str, tuple[Resize, float]] = {
    "resize-crop": ("stretch_and_crop", 224 / 256),
    "resmall-crop": ("shorter_side", 224 / 256),
    "resize": ("stretch", 1.0),
}
"""Name -> `resize` and `crop_fraction` of a `Preprocess`, for images of 224 pixels:

resize-crop   the whole image is resized to 256x256, ignoring its aspect ratio, and its centre is cropped
resmall-crop  the shorter side is resized to 256, and the centre is cropped
resize        the whole image is resized to 224x224, as for CIFAR-10 in google-research/vision_transformer
"""


def with_crop(preprocess: Preprocess, name: str) -> Preprocess:
    """`preprocess` with the evaluation crop `name` of `CROPS`. Raises UserError for an unknown name."""
    if name not in CROPS:
        raise UserError(
            f'crop "{name}" is unknown: it must be {", ".join(CROPS)}. {did_you_mean(name, CROPS)}'.rstrip()
        )
    resize, crop_fraction = CROPS[name]
    return replace(preprocess, resize=resize, crop_fraction=crop_fraction)
