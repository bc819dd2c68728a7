"""Masks in colours: palettes, overlays, and strips of an image, its truth, a prediction and the errors.

Axes:  row, column  pixels of an image
       channel      red, green and blue from 0 to 255
"""

from collections.abc import Sequence

import numpy as np

from mixlab.report.legend import Legend

IGNORED = 255
"""As `mixlab.data.mask_file.IGNORED`, which reports do not import."""

_OPACITY = 0.6
_CORRECT, _WRONG = (225, 228, 232), (184, 69, 15)


def palette() -> np.ndarray:
    """The colours of 256 class indices, uint8 (class, channel), as PASCAL VOC: the bits of an index are spread.

    `IGNORED` is (224, 224, 192), a light colour that no other index has.
    """
    indices = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((indices >> channel & 1) << (7 - bit)).astype(np.uint8)
        indices >>= 3
    return colours


def coloured(mask: np.ndarray) -> np.ndarray:
    """A mask, uint8 (row, column), in colours: uint8 (row, column, channel)."""
    return palette()[mask]


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image, uint8 (row, column, channel), in grey under its mask in colours."""
    grey = image.astype(float) @ (0.299, 0.587, 0.114)  # the luma of Rec. 601
    mixed = (1 - _OPACITY) * grey[..., None] + _OPACITY * coloured(mask)
    return mixed.round().astype(np.uint8)


def error_strip(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Image, truth, prediction and errors side by side. Wrong pixels are red, ignored ones have their own colour."""
    wrong = (truth != predicted) & (truth != IGNORED)
    errors = np.where(wrong[..., None], np.array(_WRONG), np.array(_CORRECT)).astype(np.uint8)
    errors[truth == IGNORED] = palette()[IGNORED]
    return np.concatenate([image, coloured(truth), coloured(predicted), errors], axis=1)


def class_legend(classes: Sequence[str]) -> Legend:
    """The colour of each class."""
    return Legend("Colours of the classes", list(zip(classes, _colours(), strict=False)))


def error_legend() -> Legend:
    """The colours of `error_strip` beside those of the classes."""
    entries = [("correct pixels", _CORRECT), ("wrong pixels", _WRONG), ("ignored pixels", _colours()[IGNORED])]
    return Legend("Colours of the errors", entries)


def _colours() -> list[tuple[int, int, int]]:
    return [(red, green, blue) for red, green, blue in palette().tolist()]
