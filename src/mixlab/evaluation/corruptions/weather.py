"""Weather. Images are uint8; results have the same range as floats, and are truncated by `corrupt`."""

import numpy as np
from jaxtyping import Float64, UInt8

from mixlab.evaluation.corruptions.blur import blurred_along, enlarged
from mixlab.evaluation.corruptions.plasma import plasma

_FROST_COLOUR = (146, 167, 179)
_FROST_DEVIATION = 23
_FROST_DECAY = 1.1


def snow(
    image: UInt8[np.ndarray, "row column 3"],
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: int,
    blur: float,
    colour: float,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "row column 3"]:
    """Falling flakes on an image that is whitened.

    Flakes are normal noise with `mean` and `deviation`, enlarged by `zoom`, of which values from `threshold` on are
    blurred along a steep line with `radius` and the deviation `blur`. They are added twice, once rotated by 180
    degrees. `colour` is the share of the image that is not whitened.
    """
    flakes = enlarged(rng.normal(size=image.shape[:2], loc=mean, scale=deviation), zoom)
    flakes[flakes < threshold] = 0
    levels = (np.clip(flakes, 0, 1) * 255).astype(np.uint8)
    falling = blurred_along(levels, radius, blur, rng.uniform(-135, -45))[..., None] / 255
    unit = image / 255
    grey = unit @ [0.299, 0.587, 0.114]
    whitened = colour * unit + (1 - colour) * np.maximum(unit, grey[..., None] * 1.5 + 0.5)
    return (whitened + falling + np.rot90(falling, k=2)) * 255


def frost(
    image: UInt8[np.ndarray, "row column 3"],
    image_weight: float,
    frost_weight: float,
    shrink: int,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "row column 3"]:
    """A weighted sum of the image and a texture of frost, of which every `shrink`-th pixel is used.

    This deviates from the published corruption, which adds crops of photographs of frost that are not part of mixlab.
    The texture is computed: ridges in a plasma fractal. Its mean colour (146, 167, 179), its standard deviation 23 and
    the differences between its pixels at distances of 1 to 64 are about those of crops of these photographs, averaged
    over all of them. Published textures differ in colour from each other, computed ones do not.
    """
    rows, columns = image.shape[:2]
    heights = plasma(max(rows, columns) * shrink, _FROST_DECAY, rng)[
        : rows * shrink : shrink, : columns * shrink : shrink
    ]
    ridges = 1 - np.abs(2 * heights - 1)
    texture = (ridges - ridges.mean()) / ridges.std() * _FROST_DEVIATION
    return image_weight * image + frost_weight * np.clip(texture[..., None] + _FROST_COLOUR, 0, 255)


def fog(
    image: UInt8[np.ndarray, "row column 3"], density: float, decay: float, rng: np.random.Generator
) -> Float64[np.ndarray, "row column 3"]:
    """A plasma fractal is added, finer for a smaller `decay`, and the sum is scaled to at most the old maximum."""
    rows, columns = image.shape[:2]
    unit = image / 255
    clouds = plasma(max(rows, columns), decay, rng)[:rows, :columns]
    brightest = unit.max()
    return (unit + density * clouds[..., None]) * brightest / (brightest + density) * 255


def brightness(image: UInt8[np.ndarray, "row column 3"], added: float) -> Float64[np.ndarray, "row column 3"]:
    """`added` is added to the value of HSV, which is the largest of red, green and blue.

    Hue and saturation are the same, so that all three are multiplied by the same factor; black becomes grey.
    """
    unit = image / 255
    value = unit.max(axis=2, keepdims=True)
    brighter = np.minimum(value + added, 1)
    return np.where(value > 0, unit * brighter / np.where(value > 0, value, 1), brighter) * 255
