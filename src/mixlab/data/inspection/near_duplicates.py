"""Near duplicates: the same image in different files, for example encoded again, resized or slightly brighter.

The search has two steps. A perceptual hash finds candidates: the signs of the lowest cosine frequencies, as in Zauner
2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2.1. Unlike in the paper, the hash
includes the frequencies along a single axis, which stripes have, and excludes the mean: 63 bits. Colour thumbnails then
confirm a candidate, because different images can have similar hashes by chance.

Mirrored, rotated and cropped copies are not found. Blank images have no hash and match no other image. Line drawings on
a uniform background, such as handwriting, match more easily than photographs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from PIL import Image

from mixlab.data.components import component_of

SIDE = 32  # pixels of the grey image that is hashed
FREQUENCIES = 8  # along each side
BITS = FREQUENCIES**2 - 1
MAX_BITS = 10
"""The maximum number of different bits of two copies. Hashes of unrelated images differ in half of their bits."""

THUMBNAIL = 16  # pixels per side
MIN_CORRELATION = 0.92
"""The minimum correlation of the thumbnails of two copies. docs/data_check.md has the measurements behind it."""

MIN_CORRELATION_TINY = 0.99
"""The same for images smaller than their thumbnails, which match more often by chance."""

MIN_DEVIATION = 2.0
"""An image is blank if the standard deviation of its grey thumbnail is below this, of 255 levels."""

_NOISE = MIN_DEVIATION * SIDE
"""The amplitude of a frequency in noise with that deviation. Smaller amplitudes do not set a bit."""

_ROWS = 256
"""Rows of the table of all pairs that are compared at a time: 77 MB for 60,000 images."""


@dataclass(frozen=True, eq=False, slots=True)
class ImageHash:
    """The features of an image that the search compares.

    `bits`: the perceptual hash; None for a blank image.
    `thumbnail`: `THUMBNAIL` pixels per side.
    `min_correlation`: the minimum correlation of its thumbnail with that of a copy.
    """

    bits: Bool[np.ndarray, " bit"] | None
    thumbnail: UInt8[np.ndarray, "row column 3"]
    min_correlation: float = MIN_CORRELATION


def _cosines() -> Float32[np.ndarray, "frequency pixel"]:
    frequency, pixel = np.arange(FREQUENCIES)[:, None], np.arange(SIDE)[None]
    return np.cos(np.pi * frequency * (2 * pixel + 1) / (2 * SIDE)).astype(np.float32)


_COSINES = _cosines()


def perceptual_hash(image: UInt8[np.ndarray, "row column 3"]) -> ImageHash:
    """Compute the hash and the thumbnail of an image of any size."""
    pil_image = Image.fromarray(image)
    thumbnail = np.asarray(pil_image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    grey = np.asarray(pil_image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)
    min_correlation = MIN_CORRELATION_TINY if min(pil_image.size) < THUMBNAIL else MIN_CORRELATION
    if grey.std() < MIN_DEVIATION:
        return ImageHash(None, thumbnail, min_correlation)
    frequencies = (_COSINES @ grey @ _COSINES.T).ravel()[1:]
    return ImageHash(frequencies > np.median(frequencies) + _NOISE, thumbnail, min_correlation)


@dataclass(frozen=True, slots=True)
class Pair:
    """The indices of two similar images, the smaller one first.

    `bits`: the number of different bits.
    `correlation`: that of the thumbnails.
    """

    first: int
    second: int
    bits: int
    correlation: float


def unhashed() -> ImageHash:
    """The hash of an image that matches no other, because it can't be read."""
    return ImageHash(None, np.zeros((THUMBNAIL, THUMBNAIL, 3), dtype=np.uint8))


def near_duplicates(hashes: Sequence[ImageHash]) -> list[Pair]:
    """All pairs of similar images."""
    return list(iterate_near_duplicates(hashes))


def iterate_near_duplicates(hashes: Sequence[ImageHash]) -> Iterator[Pair]:
    """The pairs of similar images, one by one, because images that are alike in general have too many of them.

    Every hash is compared with every other by matrix products: seconds for 60,000 images, with quadratic complexity.
    """
    stacked = _stack(hashes)
    for start in range(0, len(stacked.indices), _ROWS):
        first, second, bits = _candidates(stacked.signs[start : start + _ROWS], stacked.signs[start:])
        later = second > first
        first, second, bits = first[later] + start, second[later] + start, bits[later]
        correlations, similar = _confirm(stacked, first, stacked, second)
        yield from map(
            Pair,
            stacked.indices[first[similar]].tolist(),
            stacked.indices[second[similar]].tolist(),
            bits[similar].tolist(),
            correlations[similar].tolist(),
        )


def have_near_duplicate(hashes: Sequence[ImageHash], others: Sequence[ImageHash]) -> Bool[np.ndarray, " image"]:
    """Whether each image of `hashes` is similar to at least one of `others`."""
    stacked, stacked_others = _stack(hashes), _stack(others)
    found = np.zeros(len(hashes), dtype=bool)
    for start in range(0, len(stacked.indices), _ROWS):
        first, second, _ = _candidates(stacked.signs[start : start + _ROWS], stacked_others.signs)
        first += start
        _, similar = _confirm(stacked, first, stacked_others, second)
        found[stacked.indices[first[similar]]] = True
    return found


@dataclass(frozen=True, eq=False, slots=True)
class _Stacked:
    """The features of the images that are not blank, and their indices among all."""

    indices: Int64[np.ndarray, " image"]
    signs: Float32[np.ndarray, "image bit"]
    thumbnails: UInt8[np.ndarray, "image row column 3"]
    min_correlation: Float64[np.ndarray, " image"]


def _stack(hashes: Sequence[ImageHash]) -> _Stacked:
    bits = [hash.bits for hash in hashes if hash.bits is not None]
    indices = np.array([index for index, hash in enumerate(hashes) if hash.bits is not None], dtype=np.int64)
    return _Stacked(
        indices,
        np.array(bits, dtype=np.float32).reshape(-1, BITS) * 2 - 1,
        np.array([hashes[index].thumbnail for index in indices], dtype=np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL, 3),
        np.array([hashes[index].min_correlation for index in indices], dtype=np.float64),
    )


def _candidates(
    rows: Float32[np.ndarray, "row bit"], columns: Float32[np.ndarray, "column bit"]
) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]:
    """Both indices and the number of different bits of all pairs of a row and a column with similar hashes."""
    agreement = rows @ columns.T  # equal bits minus different bits
    row, column = np.nonzero(agreement >= BITS - 2 * MAX_BITS)
    bits = np.rint((BITS - agreement[row, column]) / 2).astype(np.int64)
    return row, column, bits


def _confirm(
    a: _Stacked, first: Int64[np.ndarray, " pair"], b: _Stacked, second: Int64[np.ndarray, " pair"]
) -> tuple[Float32[np.ndarray, " pair"], Bool[np.ndarray, " pair"]]:
    """The correlation of the thumbnails of each pair, and whether it is high enough for a copy."""
    correlations = _correlations(a.thumbnails[first], b.thumbnails[second])
    return correlations, correlations >= np.maximum(a.min_correlation[first], b.min_correlation[second])


def _correlations(
    first: UInt8[np.ndarray, "pair row column 3"], second: UInt8[np.ndarray, "pair row column 3"]
) -> Float32[np.ndarray, " pair"]:
    """The correlation of two thumbnails over all pixels and channels."""
    a, b = (_standardize(thumbnails) for thumbnails in (first, second))
    return (a * b).sum(1)


def _standardize(thumbnails: UInt8[np.ndarray, "pair row column 3"]) -> Float32[np.ndarray, "pair value"]:
    values = thumbnails.reshape(len(thumbnails), THUMBNAIL**2 * 3).astype(np.float32)
    values -= values.mean(1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)


def connected_groups(pairs: list[tuple[int, int]], count: int) -> list[list[int]]:
    """Connected components of the graph that `pairs` form on `count` indices. Indices without a pair are omitted."""
    if not pairs:
        return []
    group_of = component_of(np.array(pairs), count)
    groups: dict[int, list[int]] = {}
    for index in np.unique(np.array(pairs)).tolist():
        groups.setdefault(int(group_of[index]), []).append(index)
    return list(groups.values())
