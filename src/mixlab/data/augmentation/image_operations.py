"""The operations of RandAugment on one uint8 RGB image. The three variants differ in selection and strength."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageEnhance, ImageOps

LAYERS = 8
"""The maximum number of operations that RandAugment applies in sequence."""
LAYER_UNIFORMS = 6  # operation, whether to apply it, strength, sign, and two that the operation may use
UNIFORMS = LAYERS * LAYER_UNIFORMS

Number = int | float


@dataclass(frozen=True)
class Canvas:
    """Options of geometric operations.

    `resample`: the interpolation.
    `fill`: the colour of pixels outside the image.
    `position`: two uniform random numbers in [0, 1), for operations at a random position.
    """

    resample: Image.Resampling
    fill: tuple[int, int, int]
    position: tuple[float, float] = (0.5, 0.5)


Operation = Callable[[Image.Image, Number, Canvas], Image.Image]

Amount = Callable[[float, int, tuple[int, int]], Number]
"""A function from the level, a sign of -1 or 1, and the (columns, rows) of the image to the operation's argument."""


def affine_transform(
    image: Image.Image, matrix: tuple[Number, Number, Number, Number, Number, Number], canvas: Canvas
) -> Image.Image:
    """Each output pixel (x, y) is taken from (ax + by + c, dx + ey + f), where `matrix` is (a, b, c, d, e, f)."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=canvas.resample, fillcolor=canvas.fill)


def shear_x(image: Image.Image, slope: Number, canvas: Canvas) -> Image.Image:
    return affine_transform(image, (1, slope, 0, 0, 1, 0), canvas)


def shear_y(image: Image.Image, slope: Number, canvas: Canvas) -> Image.Image:
    return affine_transform(image, (1, 0, 0, slope, 1, 0), canvas)


def translate_x(image: Image.Image, pixels: Number, canvas: Canvas) -> Image.Image:
    return affine_transform(image, (1, 0, pixels, 0, 1, 0), canvas)


def translate_y(image: Image.Image, pixels: Number, canvas: Canvas) -> Image.Image:
    return affine_transform(image, (1, 0, 0, 0, 1, pixels), canvas)


def rotate(image: Image.Image, degrees: Number, canvas: Canvas) -> Image.Image:
    return image.rotate(degrees, resample=canvas.resample, fillcolor=canvas.fill)


def identity(image: Image.Image, _amount: Number, _canvas: Canvas) -> Image.Image:
    return image


def autocontrast(image: Image.Image, _amount: Number, _canvas: Canvas) -> Image.Image:
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image, _amount: Number, _canvas: Canvas) -> Image.Image:
    return ImageOps.equalize(image)


def invert(image: Image.Image, _amount: Number, _canvas: Canvas) -> Image.Image:
    return ImageOps.invert(image)


def posterize(image: Image.Image, bits: Number, _canvas: Canvas) -> Image.Image:
    """Keep the highest bits of each channel. 0 bits give black, which is an error in Pillow since version 13."""
    mask = 256 - 2 ** (8 - int(bits))
    return image.point([value & mask for value in range(256)] * 3)


def solarize(image: Image.Image, threshold: Number, _canvas: Canvas) -> Image.Image:
    """Invert values at or above the threshold."""
    return ImageOps.solarize(image, threshold)  # pyright: ignore[reportArgumentType]  a float in torchvision


def solarize_add(image: Image.Image, addition: Number, _canvas: Canvas) -> Image.Image:
    """Add to values below 128."""
    return image.point([min(255, value + int(addition)) if value < 128 else value for value in range(256)] * 3)


def color(image: Image.Image, factor: Number, _canvas: Canvas) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def contrast(image: Image.Image, factor: Number, _canvas: Canvas) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def brightness(image: Image.Image, factor: Number, _canvas: Canvas) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def sharpness(image: Image.Image, factor: Number, _canvas: Canvas) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(factor)


def no_argument(_level: float, _sign: int, _size: tuple[int, int]) -> Number:
    """The Amount of operations without an argument."""
    return 0
