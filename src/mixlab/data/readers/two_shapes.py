"""`two-shapes`: generated images in which only the relative position of two shapes decides the class.

Each image is a grid of 8 x 8 cells of 4 pixels. One cell has a ring, one a cross, and all others are grey. The class is
where the ring is: left of the cross in the same row, right of it, or above or below it in the same column. The places
are uniform among the 224 pairs of each class.

Images come in groups of four, one of each class, with the same cells in another order. The patches of the images of a
group are therefore equal up to their order, for patches of 1, 2 or 4 pixels. A model whose logits do not depend on the
order of the patches has the same logits for all four, and classifies exactly one of them correctly: 25 %, with any
weights. Other patch sizes cut the image elsewhere, and this does not hold.

All images follow from the seed, as random numbers of `mixlab.data.rng`.
"""

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from mixlab.data.dataset import Dataset, Split
from mixlab.data.rng import image_uniforms
from mixlab.errors import UserError

NAME = "two-shapes"
CLASSES = ("left", "right", "above", "below")
CELL = 4
"""Pixels of a side of a cell."""

SIZE = 32
"""Pixels of a side of an image."""

_GRID = SIZE // CELL
_CELLS = _GRID**2
_GROUPS = {"train": 2250, "validation": 250, "test": 500}
_RING = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]], dtype=bool)
_CROSS = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]], dtype=bool)
_DARK, _LIGHT, _BRIGHT = 64, 160, 192
"""Greys are in [64, 160), the colours of the shapes in [192, 256)."""


def open_two_shapes(location: str = "") -> Dataset:
    """10,000 images to train on, of which 1,000 are for validation, and 2,000 for testing, 32 x 32 pixels, in memory.

    location  the seed, a number of 0 or more; 0 if empty

    The groups of a split are those of the images with the same patches. Raises UserError if the seed is not valid.
    """
    if location and not (location.isascii() and location.isdecimal() and int(location) < 2**63):
        raise UserError(f'{NAME} has the seed "{location}", which is not a whole number of 0 or more: write {NAME}:1.')
    seed = int(location or 0)
    images = _images(seed, np.arange(sum(_GROUPS.values())))
    splits, start = {}, 0
    for name, groups in _GROUPS.items():
        splits[name] = _split(images[start : start + groups], start)
        start += groups
    return Dataset(name=f"{NAME}:{location}" if location else NAME, classes=CLASSES, splits=splits)


def _split(images: UInt8[np.ndarray, "group class row column 3"], first: int) -> Split:
    groups, classes = images.shape[:2]
    ids = [f"{NAME}/{first + number:04d}" for number in range(groups)]
    return Split(
        names=[f"{group}/{label}" for group in ids for label in CLASSES],
        labels=np.tile(np.arange(classes), groups),
        images=list(images.reshape(-1, *images.shape[2:])),
        groups=tuple(np.repeat(ids, classes).tolist()),
    )


def _images(seed: int, groups: Int64[np.ndarray, " group"]) -> UInt8[np.ndarray, "group class row column 3"]:
    """The images of these groups."""
    classes = len(CLASSES)
    uniforms = image_uniforms(seed, 0, groups, 6 + _CELLS - 2 + classes * (1 + _CELLS))
    colours, greys, pairs, keys = np.split(uniforms, np.cumsum([6, _CELLS - 2, classes]), axis=1)
    cells = _cells(colours.reshape(-1, 2, 3), greys)
    order = _order(pairs, keys.reshape(-1, classes, _CELLS))
    placed = np.take_along_axis(cells[:, None], order[..., None, None, None], axis=2)
    grid = placed.reshape(*placed.shape[:2], _GRID, _GRID, CELL, CELL, 3)
    return grid.transpose(0, 1, 2, 4, 3, 5, 6).reshape(*placed.shape[:2], SIZE, SIZE, 3)


def _cells(
    colours: Float64[np.ndarray, "group shape 3"], greys: Float64[np.ndarray, "group grey"]
) -> UInt8[np.ndarray, "group cell row column 3"]:
    """The ring, the cross and the grey cells of each group. The shapes are on black."""
    bright = (_BRIGHT + colours * (256 - _BRIGHT)).astype(np.uint8)
    shapes = np.stack([_RING, _CROSS])[None, ..., None] * bright[:, :, None, None]
    grey = (_DARK + greys * (_LIGHT - _DARK)).astype(np.uint8)
    plain = np.broadcast_to(grey[..., None, None, None], (*grey.shape, CELL, CELL, 3))
    return np.concatenate([shapes, plain], axis=1)


def _order(
    pairs: Float64[np.ndarray, "group class"], keys: Float64[np.ndarray, "group class place"]
) -> Int64[np.ndarray, "group class place"]:
    """Which cell is at each place of each image: the ring (0) and the cross (1) at a pair of its class."""
    ring, cross = np.moveaxis(_PAIRS[np.arange(len(CLASSES)), (pairs * _PAIRS.shape[1]).astype(np.int64)], -1, 0)
    keys = keys.copy()
    np.put_along_axis(keys, ring[..., None], -2, axis=-1)
    np.put_along_axis(keys, cross[..., None], -1, axis=-1)
    return np.argsort(np.argsort(keys, axis=-1, kind="stable"), axis=-1, kind="stable")


def _pairs() -> Int64[np.ndarray, "class pair 2"]:
    """The places of ring and cross in each class, as indices into the cells in row-major order."""
    places = np.arange(_CELLS).reshape(_GRID, _GRID)
    first, second = np.triu_indices(_GRID, k=1)
    row = np.stack([places[:, first], places[:, second]], axis=-1).reshape(-1, 2)
    column = np.stack([places[first], places[second]], axis=-1).reshape(-1, 2)
    return np.stack([row, row[:, ::-1], column, column[:, ::-1]])


_PAIRS = _pairs()
