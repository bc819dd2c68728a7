"""Digital corruptions. Images are uint8; results have the same range, and are truncated by `corrupt`."""

from io import BytesIO

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image
from scipy import ndimage


def contrast(image: UInt8[np.ndarray, "row column 3"], factor: float) -> Float64[np.ndarray, "row column 3"]:
    """The difference from the mean of each channel is multiplied by `factor`."""
    unit = image / 255
    mean = unit.mean(axis=(0, 1), keepdims=True)
    return ((unit - mean) * factor + mean) * 255


def elastic_transform(
    image: UInt8[np.ndarray, "row column 3"],
    displacement: float,
    smoothness: float,
    affine: float,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "row column 3"]:
    """A random affine transform, then smooth random displacements of all pixels.

    The transform moves three points in the middle by up to `affine` pixels in each direction. Displacements are uniform
    noise, blurred with the deviation `smoothness` and multiplied by `displacement`.
    """
    rows, columns, _ = image.shape
    centre = np.array([columns // 2, rows // 2])
    side = min(rows, columns) // 3
    corners = centre + np.array([[side, side], [side, -side], [-side, -side]])  # x, y
    moved = corners + rng.uniform(-affine, affine, size=(3, 2))
    to_source = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners)  # (x, y, 1) of the result -> (x, y)
    y, x = np.mgrid[:rows, :columns]
    source_x, source_y = np.moveaxis(np.stack([x, y, np.ones_like(x)], axis=-1) @ to_source, -1, 0)
    transformed = _sampled(image / 255, source_y, source_x, mode="mirror")
    right, down = (
        ndimage.gaussian_filter(rng.uniform(-1, 1, size=(rows, columns)), smoothness, mode="reflect", truncate=3)
        * displacement
        for _ in range(2)
    )
    return _sampled(transformed, y + down, x + right, mode="reflect") * 255


def pixelate(image: UInt8[np.ndarray, "row column 3"], factor: float) -> UInt8[np.ndarray, "row column 3"]:
    """The image is reduced by `factor` and enlarged again, both by averaging over boxes."""
    rows, columns, _ = image.shape
    small = Image.fromarray(image).resize((int(columns * factor), int(rows * factor)), Image.Resampling.BOX)
    return np.array(small.resize((columns, rows), Image.Resampling.BOX))


def jpeg_compression(image: UInt8[np.ndarray, "row column 3"], quality: int) -> UInt8[np.ndarray, "row column 3"]:
    """The image is compressed as JPEG with this quality of libjpeg, by Pillow."""
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def _sampled(
    image: Float64[np.ndarray, "row column 3"],
    y: Float64[np.ndarray, "row column"],
    x: Float64[np.ndarray, "row column"],
    mode: str,
) -> Float64[np.ndarray, "row column 3"]:
    """The image at fractional positions, with linear interpolation; `mode` of scipy for positions outside."""
    channels = [ndimage.map_coordinates(image[..., channel], [y, x], order=1, mode=mode) for channel in range(3)]
    return np.stack(channels, axis=-1)
