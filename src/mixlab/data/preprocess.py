"""Preprocessing: a decoded image is resized, cropped and normalised for a model.

Axes:  row, column    pixels of the original image
       rows, columns  pixels of `image_size`
       image          an image of a batch
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mixlab.data.audio.spectrogram import Spectrogram
from mixlab.data.deep_image import ValueRange
from mixlab.data.transforms import Transform
from mixlab.errors import UserError, did_you_mean

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's ImageNet constants
INCEPTION_MEAN, INCEPTION_STD = (
    (0.5, 0.5, 0.5),
    (0.5, 0.5, 0.5),
)  # scales to [-1, 1], as Inception and the official Mixers

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

Interpolation = Literal["bilinear", "bicubic"]

Resize = Literal["stretch", "shorter_side", "stretch_and_crop"]

_OPTIONAL = {"value_range", "transform", "spectrogram"}

MAX_SCALED_PIXELS = 2**26
"""A narrow image that would be enlarged to more pixels (256 MiB in Pillow) is cropped before it is enlarged.

The result is the same up to the rounding and clipping between the two passes of Pillow. Photographs stay far below the
limit.
"""

Box = tuple[int, int, int, int]
"""Left, upper, right, lower, in pixels."""

FractionalBox = tuple[float, float, float, float]
"""The same, in fractions of pixels."""


@dataclass(frozen=True)
class Preprocess:
    """The preprocessing of a model. Images are resized with Pillow, which antialiases when it shrinks an image.

    `image_size`: (rows, columns) of the result, in pixels.
    `resize`: "stretch" resizes the image to `image_size` and ignores its aspect ratio. "shorter_side" keeps the aspect
        ratio: the image is scaled until it just covers `image_size` / `crop_fraction`, then centre-cropped.
        "stretch_and_crop" resizes it to `image_size` / `crop_fraction`, ignoring its aspect ratio, and centre-crops.
    `crop_fraction`: in (0, 1]; not used by "stretch".
    `mean`, `std`: the normalisation of each channel, for pixel values in [0, 1].
    `value_range`: the values of black and white in files of grey images with more than 8 bits; None for the range that
        `mixlab.data.deep_image.default_range` finds for each file. It has no effect on arrays.
    `spectrogram`: how sounds become images; None for a model of images.

    Raises UserError for settings out of range.
    """

    image_size: tuple[int, int]
    resize: Resize = "stretch"
    crop_fraction: float = 1.0
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = INCEPTION_MEAN
    std: tuple[float, float, float] = INCEPTION_STD
    value_range: ValueRange | None = None
    transform: Transform | None = None  # of every image, after normalisation; in training after augmentation and mixing
    spectrogram: Spectrogram | None = None

    def __post_init__(self) -> None:
        if min(self.image_size) < 1:
            raise UserError(
                f"image_size={self.image_size} is invalid: it must be (height, width) in pixels, each at least 1."
            )
        if not 0 < self.crop_fraction <= 1:
            raise UserError(
                f"crop_fraction={self.crop_fraction} is out of range: it must be in (0, 1], for example 0.875."
            )
        if min(self.std) <= 0:
            raise UserError(f"std={self.std} is invalid: the value of each channel must be above 0.")
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise UserError(
                f"value_range={self.value_range} is invalid: it must be (black, white) with black < white, for example "
                "(0, 4095)."
            )

    dtype: ClassVar[np.dtype] = np.dtype(np.uint8)
    """Of resized images."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channel, row, column) of a resized image."""
        return (3, *self.image_size)

    @property
    def noun(self) -> str:
        """What a file is, for sentences: "image" or "sound"."""
        return "image" if self.spectrogram is None else "sound"

    @property
    def decoding(self) -> ValueRange | Spectrogram | None:
        """How files are decoded, as `mixlab.data.dataset.decoded` takes it."""
        return self.value_range if self.spectrogram is None else self.spectrogram

    def __call__(self, image: UInt8[np.ndarray, "row column 3"]) -> Float[Tensor, "3 rows columns"]:
        """Resize, normalise and transform one image, as in evaluation."""
        return self.finished(self.resized(image)[None])[0]

    def resized(self, image: UInt8[np.ndarray, "row column 3"]) -> UInt8[Tensor, "3 rows columns"]:
        """The first half: resize and crop one image on the CPU. The result can be cached."""
        rows, columns, _ = image.shape
        if self.resize == "stretch":
            return self.stretched(image, (0, 0, columns, rows), self.interpolation)
        height, width = self.image_size
        scaled_height, scaled_width = self._scaled_size(rows, columns)
        top, left = round((scaled_height - height) / 2), round((scaled_width - width) / 2)
        bottom, right = top + height, left + width
        if scaled_height * scaled_width > max(MAX_SCALED_PIXELS, rows * columns):
            box = (
                left * columns / scaled_width,
                top * rows / scaled_height,
                right * columns / scaled_width,
                bottom * rows / scaled_height,
            )
            return self.stretched(image, box, self.interpolation)
        scaled = Image.fromarray(image).resize((scaled_width, scaled_height), RESAMPLING[self.interpolation])
        return _tensor(np.array(scaled)[top:bottom, left:right])

    def _scaled_size(self, rows: int, columns: int) -> tuple[int, int]:
        """The height and width to which an image is resized before it is cropped."""
        height, width = self.image_size
        scales = height / self.crop_fraction / rows, width / self.crop_fraction / columns
        row_scale, column_scale = scales if self.resize == "stretch_and_crop" else (max(scales), max(scales))
        return max(round(rows * row_scale), height), max(round(columns * column_scale), width)

    def stretched(
        self, image: UInt8[np.ndarray, "row column 3"], box: Box | FractionalBox, interpolation: Interpolation
    ) -> UInt8[Tensor, "3 rows columns"]:
        """Crop the image to `box` and resize the crop to `image_size`, ignoring its aspect ratio."""
        height, width = self.image_size
        return _tensor(np.array(Image.fromarray(image).resize((width, height), RESAMPLING[interpolation], box=box)))

    def normalised(self, images: UInt8[Tensor, "*image 3 row column"]) -> Float[Tensor, "*image 3 row column"]:
        """The second half: normalise images on their device."""
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=images.device)[:, None, None] * 255
            for values in (self.mean, self.std)
        )
        return images.to(torch.float32).sub_(mean).div_(std)

    def finished(self, images: UInt8[Tensor, "image 3 row column"]) -> Float[Tensor, "image 3 row column"]:
        """Normalise and transform resized images, as in evaluation."""
        normalised = self.normalised(images)
        return normalised if self.transform is None else self.transform(normalised)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values: tuples become lists; the settings that are None are left out."""
        stored = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        if self.transform:
            stored["transform"] = self.transform.to_dict()
        return {key: value for key, value in stored.items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """Restore the settings from `to_dict`; "value_range", "transform" and "spectrogram" may be missing.

        Raises UserError for unknown, missing or invalid values.
        """
        known = [field.name for field in fields(cls)]
        if set(values) | _OPTIONAL != set(known):
            unknown, missing = sorted(set(values) - set(known)), sorted(set(known) - set(values) - _OPTIONAL)
            raise UserError(
                f"preprocessing has the unknown keys {unknown} and lacks the keys {missing}: its keys must be "
                f"{', '.join(known)}."
            )
        for key, choices in (("resize", get_args(Resize)), ("interpolation", tuple(RESAMPLING))):
            if values[key] not in choices:
                hint = did_you_mean(str(values[key]), choices)
                raise UserError(f'{key}="{values[key]}" is invalid: it must be {" or ".join(choices)}. {hint}'.rstrip())
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
            value_range=(float(values["value_range"][0]), float(values["value_range"][1]))
            if "value_range" in values
            else None,
            transform=Transform.from_dict(values["transform"]) if "transform" in values else None,
            spectrogram=Spectrogram.from_dict(values["spectrogram"]) if "spectrogram" in values else None,
        )


def _tensor(pixels: UInt8[np.ndarray, "row column 3"]) -> UInt8[Tensor, "3 row column"]:
    # without PyTorch's threads, because a thread that reads images would start some of its own
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
