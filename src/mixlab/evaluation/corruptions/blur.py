"""Blur. Images are uint8; results have the same range as floats, and are truncated by `corrupt`."""

import math

import numpy as np
from jaxtyping import Float64, UInt8
from scipy import ndimage, signal


def defocus_blur(
    image: UInt8[np.ndarray, "row column 3"], radius: float, softness: float
) -> Float64[np.ndarray, "row column 3"]:
    """Convolution with a disk of `radius` pixels, the edge of which is blurred with the deviation `softness`."""
    half, edge = (8, 1) if radius <= 8 else (int(radius), 2)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    taps = np.exp(-(np.arange(-edge, edge + 1) ** 2) / (2 * softness**2))
    taps /= taps.sum()
    kernel = ndimage.convolve1d(ndimage.convolve1d(disk / disk.sum(), taps, 0, mode="mirror"), taps, 1, mode="mirror")
    padded = np.pad(image / 255, ((half, half), (half, half), (0, 0)), mode="reflect")
    # The kernel has the published precision: the mean of a flat area is a whole number, and values are truncated.
    return signal.fftconvolve(padded, kernel[:, :, None].astype(np.float64), mode="valid", axes=(0, 1)) * 255


def glass_blur(
    image: UInt8[np.ndarray, "row column 3"],
    deviation: float,
    distance: int,
    repeats: int,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "row column 3"]:
    """Gaussian blur, then each pixel becomes one at most `distance` rows and columns away, then the blur again.

    The published code is written as a swap of two pixels, but its assignment reads from views of the array that it
    changes, so that it copies one of them. This function copies.
    """
    rows, columns, _ = image.shape
    blurred = (_gaussian(image / 255, deviation) * 255).astype(np.uint8)
    source = list(range(rows * columns))
    centres = [
        row * columns + column
        for row in range(rows - distance, distance, -1)
        for column in range(columns - distance, distance, -1)
    ]
    for _ in range(repeats):
        steps = rng.integers(-distance, distance, size=(len(centres), 2)) @ [1, columns]
        for centre, step in zip(centres, steps.tolist(), strict=True):
            source[centre] = source[centre + step]
    shuffled = blurred.reshape(-1, 3)[source].reshape(image.shape)
    return _gaussian(shuffled / 255, deviation) * 255


def motion_blur(
    image: UInt8[np.ndarray, "row column 3"], radius: int, deviation: float, rng: np.random.Generator
) -> Float64[np.ndarray, "row column 3"]:
    """Blur along a line of a random direction within 45 degrees of the horizontal."""
    return blurred_along(image, radius, deviation, rng.uniform(-45, 45))


def zoom_blur(
    image: UInt8[np.ndarray, "row column 3"], largest: float, step: float
) -> Float64[np.ndarray, "row column 3"]:
    """The mean of the image and of its enlargements by 1, 1 + `step` and so on below `largest`."""
    unit = image / 255
    factors = np.arange(1, largest, step)
    total = unit + np.sum([enlarged(unit, factor) for factor in factors], axis=0)
    return total / (len(factors) + 1) * 255


def blurred_along(
    layer: UInt8[np.ndarray, "row column *channel"], radius: int, deviation: float, angle: float
) -> Float64[np.ndarray, "row column *channel"]:
    """The motion blur of ImageMagick, rounded to whole values.

    A one-sided Gaussian with 2 * `radius` + 1 taps in the direction `angle`, in degrees; pixels beyond the border are
    those at the border.
    """
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2 * deviation**2))
    weights /= weights.sum()
    radians = np.deg2rad(angle)
    down, right = (np.ceil(taps * side - 0.5).astype(int) for side in (np.sin(radians), np.cos(radians)))
    rows, columns = layer.shape[:2]
    margin = len(taps)
    padded = np.pad(layer, ((margin, margin), (margin, margin), *((0, 0),) * (layer.ndim - 2)), mode="edge")
    blurred = np.zeros(layer.shape)
    for weight, row, column in zip(weights, down + margin, right + margin, strict=True):
        blurred += weight * padded[row : row + rows, column : column + columns]
    return np.round(blurred)


def enlarged(
    layer: Float64[np.ndarray, "row column *channel"], factor: float
) -> Float64[np.ndarray, "row column *channel"]:
    """The centre of a layer, enlarged by `factor` to the size of the layer with linear interpolation."""
    for axis, side in enumerate(layer.shape[:2]):
        cropped = math.ceil(side / factor)
        enlarged_side = round(cropped * factor)
        positions = (np.arange(side) + (enlarged_side - side) // 2) * (cropped - 1) / (enlarged_side - 1)
        layer = _interpolated(layer, (side - cropped) // 2 + positions, axis)
    return layer


def _interpolated(
    layer: Float64[np.ndarray, "..."], positions: Float64[np.ndarray, " position"], axis: int
) -> Float64[np.ndarray, "..."]:
    """The values of a layer at fractional positions along an axis, with linear interpolation."""
    below = np.minimum(positions.astype(int), layer.shape[axis] - 2)
    fraction = np.expand_dims(positions - below, tuple(range(1, layer.ndim - axis)))
    return layer.take(below, axis) * (1 - fraction) + layer.take(below + 1, axis) * fraction


def _gaussian(image: Float64[np.ndarray, "row column 3"], deviation: float) -> Float64[np.ndarray, "row column 3"]:
    return ndimage.gaussian_filter(image, (deviation, deviation, 0), output=np.float64, mode="nearest")
