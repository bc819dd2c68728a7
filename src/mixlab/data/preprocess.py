"""From a decoded image to what a model sees: resized, cut, and normalised.

Axes:  row, column  pixels, of the image or of `image_size`
       image      one of a batch
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mixlab.data.transforms import Transform
from mixlab.errors import UserError, did_you_mean

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's ImageNet constants
INCEPTION_MEAN, INCEPTION_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # to [-1, 1], as Inception and the official Mixers

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

Interpolation = Literal["bilinear", "bicubic"]

Box = tuple[int, int, int, int]
"""Left, upper, right, lower, in pixels."""


@dataclass(frozen=True)
class Preprocess:
    """`image_size` is (rows, columns). Resizing is Pillow's, which averages over what it shrinks.

    "stretch" resizes the image to `image_size` whatever its shape. "shorter_side" keeps its shape: it is scaled until
    it just covers `image_size` / `crop_fraction`, and the centre is cut out.
    """

    image_size: tuple[int, int]
    resize: Literal["stretch", "shorter_side"] = "stretch"
    crop_fraction: float = 1.0
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = INCEPTION_MEAN
    std: tuple[float, float, float] = INCEPTION_STD
    transform: Transform | None = None  # of every image, after normalisation; in training after augmentation and mixing

    def __post_init__(self) -> None:
        if min(self.image_size) < 1:
            raise UserError(f"image_size={self.image_size} is no size of an image: give (height, width) in pixels.")
        if not 0 < self.crop_fraction <= 1:
            raise UserError(f"crop_fraction={self.crop_fraction} is no share: it must be above 0 and at most 1.")
        if min(self.std) <= 0:
            raise UserError(f"std={self.std} would divide by it: each channel's must be above 0.")

    def __call__(self, image: UInt8[np.ndarray, "row column 3"]) -> Float[Tensor, "3 rows columns"]:
        return self.finished(self.resized(image)[None])[0]

    def resized(self, image: UInt8[np.ndarray, "row column 3"]) -> UInt8[Tensor, "3 rows columns"]:
        """The first half, which a training does once and keeps."""
        rows, columns, _ = image.shape
        if self.resize == "stretch":
            return self.stretched(image, (0, 0, columns, rows), self.interpolation)
        height, width = self.image_size
        scale = max(height / self.crop_fraction / rows, width / self.crop_fraction / columns)
        scaled_height, scaled_width = max(round(rows * scale), height), max(round(columns * scale), width)
        scaled = Image.fromarray(image).resize((scaled_width, scaled_height), RESAMPLING[self.interpolation])
        top, left = round((scaled_height - height) / 2), round((scaled_width - width) / 2)
        return _tensor(scaled.crop((left, top, left + width, top + height)))

    def stretched(
        self, image: UInt8[np.ndarray, "row column 3"], box: Box, interpolation: Interpolation
    ) -> UInt8[Tensor, "3 rows columns"]:
        """What lies in the box, resized to `image_size`."""
        height, width = self.image_size
        return _tensor(Image.fromarray(image).resize((width, height), RESAMPLING[interpolation], box=box))

    def normalised(self, images: UInt8[Tensor, "*image 3 row column"]) -> Float[Tensor, "*image 3 row column"]:
        """The second half, on the device that `images` are on."""
        mean, std = (
            torch.tensor(values, device=images.device)[:, None, None] * 255 for values in (self.mean, self.std)
        )
        return (images - mean) / std

    def finished(self, images: UInt8[Tensor, "image 3 row column"]) -> Float[Tensor, "image 3 row column"]:
        """Resized images as the model sees them in evaluation: normalised, then transformed."""
        normalised = self.normalised(images)
        return normalised if self.transform is None else self.transform(normalised)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: tuples become lists; `transform` is there only if it is set."""
        stored = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return stored | {"transform": self.transform.to_dict()} if self.transform else _without(stored, "transform")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """What `to_dict` gave: every key, and no other; "transform" may be missing."""
        known = [field.name for field in fields(cls)]
        if set(values) | {"transform"} != set(known):
            unknown, missing = sorted(set(values) - set(known)), sorted(set(known) - set(values) - {"transform"})
            raise UserError(
                f"preprocessing has the unknown keys {unknown} and lacks {missing}: its keys are {', '.join(known)}."
            )
        for key, choices in (("resize", ("stretch", "shorter_side")), ("interpolation", tuple(RESAMPLING))):
            if values[key] not in choices:
                hint = did_you_mean(str(values[key]), choices)
                raise UserError(
                    f'{key}="{values[key]}" is not known: it can be {" or ".join(choices)}. {hint}'.rstrip()
                )
        height, width = values["image_size"]
        red, green, blue = map(float, values["mean"])
        red_std, green_std, blue_std = map(float, values["std"])
        return cls(
            image_size=(height, width),
            resize=values["resize"],
            crop_fraction=float(values["crop_fraction"]),
            interpolation=values["interpolation"],
            mean=(red, green, blue),
            std=(red_std, green_std, blue_std),
            transform=Transform.from_dict(values["transform"]) if "transform" in values else None,
        )


def _without(values: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}


def _tensor(image: Image.Image) -> UInt8[Tensor, "3 row column"]:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
