"""What a RandAugment does to one uint8 RGB image; the three of them differ in which they choose, and how strongly."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageEnhance, ImageOps

LAYERS = 8
"""A RandAugment applies at most so many operations in turn."""
LAYER_UNIFORMS = 6  # which operation, whether, how strongly, with which sign, and two that the operation may use
UNIFORMS = LAYERS * LAYER_UNIFORMS


Number = int | float


@dataclass(frozen=True)
class Canvas:
    """How a moved image is resampled, what colour comes in from outside, and two draws, for a place."""

    resample: Image.Resampling
    fill: tuple[int, int, int]
    place: tuple[float, float] = (0.5, 0.5)


Operation = Callable[[Image.Image, Number, Canvas], Image.Image]

Amount = Callable[[float, int, tuple[int, int]], Number]
"""What an operation is given, from the level, a sign of -1 or 1, and the image's (columns, rows)."""


def moved(
    image: Image.Image, matrix: tuple[Number, Number, Number, Number, Number, Number], canvas: Canvas
) -> Image.Image:
    """The matrix (a, b, c, d, e, f) takes the place (x, y) from (ax + by + c, dx + ey + f)."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=canvas.resample, fillcolor=canvas.fill)


def shear_x(image: Image.Image, slope: Number, canvas: Canvas) -> Image.Image:
    return moved(image, (1, slope, 0, 0, 1, 0), canvas)


def shear_y(image: Image.Image, slope: Number, canvas: Canvas) -> Image.Image:
    return moved(image, (1, 0, 0, slope, 1, 0), canvas)


def translate_x(image: Image.Image, pixels: Number, canvas: Canvas) -> Image.Image:
    return moved(image, (1, 0, pixels, 0, 1, 0), canvas)


def translate_y(image: Image.Image, pixels: Number, canvas: Canvas) -> Image.Image:
    return moved(image, (1, 0, 0, 0, 1, pixels), canvas)


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
    """Keeps the highest bits; none leaves black, which Pillow's own has refused since 13."""
    kept = 256 - 2 ** (8 - int(bits))
    return image.point([value & kept for value in range(256)] * 3)


def solarize(image: Image.Image, threshold: Number, _canvas: Canvas) -> Image.Image:
    """Inverts what is not below the threshold."""
    return ImageOps.solarize(image, threshold)  # pyright: ignore[reportArgumentType]  torchvision's is no integer


def solarize_add(image: Image.Image, addition: Number, _canvas: Canvas) -> Image.Image:
    """Brightens what is below 128."""
    return image.point([min(255, value + int(addition)) if value < 128 else value for value in range(256)] * 3)


def color(image: Image.Image, factor: Number, _canvas: Canvas) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def contrast(image: Image.Image, factor: Number, _canvas: Canvas) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def brightness(image: Image.Image, factor: Number, _canvas: Canvas) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def sharpness(image: Image.Image, factor: Number, _canvas: Canvas) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(factor)


def nothing(_level: float, _sign: int, _size: tuple[int, int]) -> Number:
    """The amount of an operation that needs none."""
    return 0
