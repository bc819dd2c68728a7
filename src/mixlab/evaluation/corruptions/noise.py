"""Noise. Images are uint8; results have the same range as floats, and are truncated by `corrupt`."""

import numpy as np
from jaxtyping import Float64, UInt8


def gaussian_noise(
    image: UInt8[np.ndarray, "row column 3"], deviation: float, rng: np.random.Generator
) -> Float64[np.ndarray, "row column 3"]:
    """Normal noise with a standard deviation in units of the range from black to white."""
    return (image / 255 + rng.normal(size=image.shape, scale=deviation)) * 255


def shot_noise(
    image: UInt8[np.ndarray, "row column 3"], photons: float, rng: np.random.Generator
) -> Float64[np.ndarray, "row column 3"]:
    """Poisson noise, where a white pixel has `photons` photons on average."""
    return rng.poisson(image / 255 * photons) / photons * 255


def impulse_noise(
    image: UInt8[np.ndarray, "row column 3"], share: float, rng: np.random.Generator
) -> Float64[np.ndarray, "row column 3"]:
    """A `share` of the values, of each channel on its own, is replaced by black or white."""
    replaced = rng.random(image.shape) <= share
    white = rng.random(image.shape) <= 0.5
    return np.where(replaced, white.astype(np.float64), image / 255) * 255
