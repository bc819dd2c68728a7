"""The kinds of images that `Predictor` accepts, as uint8 arrays in RGB.

Axes:  row, column    pixels
       channel        1 (grey), 3 (RGB) or 4 (RGB and alpha)
"""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from mixlab.data.audio.spectrogram import Spectrogram, read_spectrogram
from mixlab.data.dataset import Decoding
from mixlab.data.image_file import ReadableFile, decode_pillow_image, read_image
from mixlab.errors import UserError


@runtime_checkable
class BinaryFile(Protocol):
    """A file that is open for reading in binary mode, or a BytesIO."""

    def read(self) -> bytes: ...


ImageInput = str | Path | bytes | BinaryFile | Image.Image | np.ndarray | Tensor

_ACCEPTED = (
    "a path, the bytes of an image file, a file opened in binary mode, a PIL image, an array of uint8 with shape "
    "(rows, columns), (rows, columns, 1), (rows, columns, 3) or (rows, columns, 4), or a tensor with shape (1, rows, "
    "columns), (3, rows, columns) or (4, rows, columns) of uint8 or of floats from 0 to 1"
)


def rgb_array(
    image: ImageInput, decoding: Decoding, max_pixels: int | None = None
) -> UInt8[np.ndarray, "row column 3"]:
    """The pixels of an image. Transparent pixels are blended with white.

    decoding     how files are decoded, as for `mixlab.data.dataset.decoded`
    max_pixels   image files with more pixels are rejected by their header

    Raises UnreadableImage for a file that can't be read, and UserError for anything that is not an image.
    """
    match image:
        case str() | Path():
            return _read(Path(image), decoding, max_pixels)
        case bytes():
            return _read(image, decoding, max_pixels)
        case Image.Image():
            return decode_pillow_image(image, None if isinstance(decoding, Spectrogram) else decoding)
        case np.ndarray():
            return _from_array(image)
        case Tensor():
            return _from_tensor(image)
        case BinaryFile():
            content = image.read()
            if isinstance(content, bytes):
                return _read(content, decoding, max_pixels)
    raise UserError(f"{type(image).__name__} is not an image: give {_ACCEPTED}.")


def _read(file: ReadableFile | bytes, decoding: Decoding, max_pixels: int | None) -> UInt8[np.ndarray, "row column 3"]:
    if isinstance(decoding, Spectrogram):
        return read_spectrogram(file, decoding)
    return read_image(file, decoding, max_pixels)


def sound_file(image: ImageInput) -> ReadableFile | bytes | None:
    """The file of a sound, if it is given as a path, bytes or an open file; None for pixels."""
    match image:
        case str() | Path():
            return Path(image)
        case bytes():
            return image
        case Image.Image() | np.ndarray() | Tensor():
            return None
        case BinaryFile():
            return image.read()
    return None


def _from_array(array: np.ndarray) -> UInt8[np.ndarray, "row column 3"]:
    channels = array[..., None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or channels.ndim != 3 or channels.shape[2] not in (1, 3, 4) or not array.size:
        raise UserError(f"An array of {array.dtype} with shape {array.shape} is not an image: give {_ACCEPTED}.")
    return _with_three_channels(channels)


def _from_tensor(tensor: Tensor) -> UInt8[np.ndarray, "row column 3"]:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4) or not tensor.numel():
        raise UserError(
            f"A tensor of {tensor.dtype} with shape {tuple(tensor.shape)} is not an image: give {_ACCEPTED}."
        )
    values = tensor.detach().cpu()
    if values.is_floating_point():
        low, high = values.min().item(), values.max().item()
        if not (low >= 0 and high <= 1):
            raise UserError(
                f"A tensor with values from {low:.3g} to {high:.3g} is not an image: floats must be from 0 to 1, "
                "before any normalisation, which the Predictor does itself. For values from 0 to 255, give uint8."
            )
        values = (values.float() * 255).round().to(torch.uint8)
    elif values.dtype != torch.uint8:
        raise UserError(f"A tensor of {tensor.dtype} is not an image: give uint8, or floats from 0 to 1.")
    return _with_three_channels(values.permute(1, 2, 0).numpy())


def _with_three_channels(pixels: UInt8[np.ndarray, "row column channel"]) -> UInt8[np.ndarray, "row column 3"]:
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 3:
        return pixels
    return decode_pillow_image(Image.fromarray(np.ascontiguousarray(pixels)))
