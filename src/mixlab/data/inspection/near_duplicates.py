"""Images that show the same thing, though their files differ: encoded again, resized, slightly brighter.

Two steps. A perceptual hash finds candidates: the signs of the lowest cosine frequencies, as in Zauner 2010,
"Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2.1 (here with the frequencies along one
side alone, which stripes have, and without the mean: 63 bits). Thumbnails in colour then decide, since a hash is the
same by chance more often than a person would call two images the same.

What is mirrored, turned or cut out is not found. A plain image has no frequencies, and is like no other.
Line drawings on one ground, such as handwriting, look alike sooner than photographs do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE = 32  # pixels of the grey image that is hashed
FREQUENCIES = 8  # along each side
BITS = FREQUENCIES**2 - 1
MAX_BITS = 10
"""Hashes of one image differ in no more bits; those of two random images differ in half of them."""

THUMBNAIL = 16  # pixels a side
MIN_CORRELATION = 0.92
"""Of the thumbnails' colours, about the mean of each: docs/data_check.md has what it was chosen by."""

MIN_CORRELATION_TINY = 0.99
"""Of images that have fewer pixels than their thumbnails: so little is the same by chance."""

PLAIN = 2.0
"""An image whose grey thumbnail deviates by less, of 255 levels, shows nothing that a hash could tell."""

_NOISE = PLAIN * SIDE
"""What noise of that deviation makes of a frequency, so that one which an image lacks has no sign by chance."""

_ROWS = 256
"""Of the table of all pairs that are looked at together: 60,000 images take 77 MB of it."""


@dataclass(frozen=True, eq=False, slots=True)
class ImageHash:
    """What is kept of an image's appearance; `bits` is None where it is plain.

    `min_correlation`: the correlation from which on another is taken for its copy.
    """

    bits: Bool[np.ndarray, " bit"] | None
    thumbnail: UInt8[np.ndarray, "row column 3"]
    min_correlation: float = MIN_CORRELATION


def _cosines() -> Float32[np.ndarray, "frequency pixel"]:
    frequency, pixel = np.arange(FREQUENCIES)[:, None], np.arange(SIDE)[None]
    return np.cos(np.pi * frequency * (2 * pixel + 1) / (2 * SIDE)).astype(np.float32)


_COSINES = _cosines()


def perceptual_hash(image: UInt8[np.ndarray, "row column 3"]) -> ImageHash:
    pil_image = Image.fromarray(image)
    thumbnail = np.asarray(pil_image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    grey = np.asarray(pil_image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)
    min_correlation = MIN_CORRELATION_TINY if min(pil_image.size) < THUMBNAIL else MIN_CORRELATION
    if grey.std() < PLAIN:
        return ImageHash(None, thumbnail, min_correlation)
    frequencies = (_COSINES @ grey @ _COSINES.T).ravel()[1:]
    return ImageHash(frequencies > np.median(frequencies) + _NOISE, thumbnail, min_correlation)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two places in what was searched, the smaller first, and how much alike they are."""

    first: int
    second: int
    bits: int
    correlation: float


def near_duplicates(hashes: Sequence[ImageHash]) -> list[Pair]:
    """Every hash is compared with every other, by matrix products: 60,000 images take seconds, ten times as many
    a hundred times as long.
    """
    places = np.array([place for place, hash in enumerate(hashes) if hash.bits is not None], dtype=np.int64)
    if len(places) < 2:
        return []
    signs = np.stack([hashes[place].bits for place in places]).astype(np.float32) * 2 - 1
    thumbnails = np.stack([hashes[place].thumbnail for place in places])
    min_correlation = np.array([hashes[place].min_correlation for place in places])
    pairs = []
    for first, second, bits in _candidates(signs):
        alike = _correlations(thumbnails[first], thumbnails[second])
        kept = alike >= np.maximum(min_correlation[first], min_correlation[second])
        pairs += map(
            Pair,
            places[first[kept]].tolist(),
            places[second[kept]].tolist(),
            bits[kept].tolist(),
            alike[kept].tolist(),
        )
    return pairs


def _candidates(
    signs: Float32[np.ndarray, "image bit"],
) -> Iterator[tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]]:
    """Both places of the pairs whose hashes differ in few bits, and in how many, block by block."""
    for start in range(0, len(signs), _ROWS):
        agreement = signs[start : start + _ROWS] @ signs[start:].T  # bits that are equal less those that are not
        row, column = np.nonzero(agreement >= BITS - 2 * MAX_BITS)
        row, column = row[column > row], column[column > row]
        bits = np.rint((BITS - agreement[row, column]) / 2).astype(np.int64)
        yield start + row, start + column, bits


def _correlations(
    first: UInt8[np.ndarray, "pair row column 3"], second: UInt8[np.ndarray, "pair row column 3"]
) -> Float32[np.ndarray, " pair"]:
    a, b = (_unit(thumbnails) for thumbnails in (first, second))
    return (a * b).sum(1)


def _unit(thumbnails: UInt8[np.ndarray, "pair row column 3"]) -> Float32[np.ndarray, "pair value"]:
    values = thumbnails.reshape(len(thumbnails), THUMBNAIL**2 * 3).astype(np.float32)
    values -= values.mean(1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)


def connected_groups(pairs: list[tuple[int, int]], count: int) -> list[list[int]]:
    """The places of `count` that pairs connect, also through others, in order; what is in no pair is left out."""
    if not pairs:
        return []
    first, second = np.array(pairs).T
    graph = coo_array((np.ones(len(pairs), dtype=bool), (first, second)), shape=(count, count))
    _, group_of = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for place in np.unique(np.array(pairs)).tolist():
        groups.setdefault(int(group_of[place]), []).append(place)
    return list(groups.values())
