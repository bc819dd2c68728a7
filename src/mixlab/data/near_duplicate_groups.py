"""Near duplicates in groups, so that no split separates them.

`mixlab.data.inspection.near_duplicates` finds pairs of similar images. Where images are alike in general, such as
handwriting or X-rays, it also links different ones into chains. A group is therefore kept together only if its images
have one class, if most of them are similar to each other, and if it is a small part of the class.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from mixlab.data.audio.sound_file import Sound
from mixlab.data.dataset import ImageSource, content_digest, stored_bytes
from mixlab.data.holdout import GroupedSplit
from mixlab.data.image_file import UnreadableImage, deep_values, read_image
from mixlab.data.inspection import near_duplicates as detector
from mixlab.data.inspection.near_duplicates import (
    ImageHash,
    connected_groups,
    iterate_near_duplicates,
    perceptual_hash,
    unhashed,
)
from mixlab.files import WriteError, cache_folder, write_text
from mixlab.report.progress import progress
from mixlab.report.text import pluralize

MAX_IMAGES, MAX_BYTES = 60_000, 2**30
"""Larger splits are not searched, because every image is decoded and compared with every other."""

MAX_PAIRS_PER_IMAGE = 10
"""With more pairs, the images are alike in general, and the search stops."""

MAX_FREE_SIZE = 10
"""A group of up to this many images is kept together whatever share of its class it is."""

MAX_SHARE = 1 / 10
"""A larger group is kept together up to this share of the images of its class."""

MIN_DENSITY = 1 / 3
"""The minimum share of similar pairs among all pairs of a group. Chains have few."""

_Groups = list[list[int]]


@dataclass(frozen=True, eq=False)
class NearDuplicateGroups:
    """Images whose near duplicates are in the same group, and sentences about them for the user."""

    images: GroupedSplit
    notes: tuple[str, ...]


def group_near_duplicates(images: GroupedSplit, min_groups: int, *, quiet: bool) -> NearDuplicateGroups:
    """Merge the groups of near duplicates. Of images in the same group, only the first is compared.

    The pairs are cached by the contents of the images.

    `min_groups`: the near duplicates of a class are not merged if it would have fewer groups.
    `quiet`: show no progress.
    """
    if any(isinstance(image, Sound) for image in images.split.images):
        return NearDuplicateGroups(images, ())  # the search compares photographs
    size = sum(map(stored_bytes, images.split.images))
    if len(images.split) > MAX_IMAGES or size > MAX_BYTES:
        note = (
            f"Near duplicates were not searched, because there are more than {MAX_IMAGES:,} images or "
            f"{MAX_BYTES >> 30} GiB: `mixlab data check` lists them, and groups keep them in one split."
        )
        return NearDuplicateGroups(images, (note,))
    firsts = np.unique(images.group_ids, return_index=True)[1].tolist()
    pairs = _cached_pairs([images.split.images[index] for index in firsts], quiet=quiet)
    if pairs is None:
        note = (
            f"Near duplicates were not kept together, because the images are alike in general: there are more than "
            f"{MAX_PAIRS_PER_IMAGE} pairs of similar images per image."
        )
        return NearDuplicateGroups(images, (note,))
    labels = images.split.labels[firsts]
    within_class = [pair for pair in pairs if labels[pair[0]] == labels[pair[1]]]
    reliable, rejected = _reliable_groups(within_class, labels, min_groups)
    links = [(firsts[group[0]], firsts[member]) for group in reliable for member in group[1:]]
    return NearDuplicateGroups(images.link(links), tuple(_notes(reliable, rejected)))


def _reliable_groups(
    pairs: list[tuple[int, int]], labels: Int64[np.ndarray, " image"], min_groups: int
) -> tuple[_Groups, _Groups]:
    """The groups that are kept together, and the others. All images of a group have the same label."""
    groups = connected_groups(pairs, len(labels))
    group_of = {index: number for number, group in enumerate(groups) for index in group}
    pair_counts = np.bincount([group_of[first] for first, _ in pairs], minlength=len(groups))
    class_sizes = np.bincount(labels)
    left = class_sizes.copy()
    reliable: _Groups = []
    rejected: _Groups = []
    for group, count in sorted(zip(groups, pair_counts, strict=True), key=lambda item: len(item[0])):
        size, label = len(group), labels[group[0]]
        is_dense = count >= MIN_DENSITY * size * (size - 1) / 2
        is_small = size <= max(MAX_FREE_SIZE, MAX_SHARE * class_sizes[label])
        if is_dense and is_small and left[label] - (size - 1) >= min_groups:
            reliable.append(group)
            left[label] -= size - 1
        else:
            rejected.append(group)
    return reliable, rejected


def _notes(reliable: _Groups, rejected: _Groups) -> list[str]:
    notes = []
    if reliable:
        notes.append(f"Near duplicates, kept together where mixlab divides the images: {_sizes(reliable)}.")
    if rejected:
        notes.append(
            f"Similar images that were not kept together, because they form chains or a large part of a class: "
            f"{_sizes(rejected)}. If they have a common origin, such as a video, name their groups."
        )
    return notes


def _sizes(groups: _Groups) -> str:
    images, largest = sum(map(len, groups)), max(map(len, groups))
    return f"{pluralize(images, 'image')} in {pluralize(len(groups), 'group')}, the largest with {largest:,}"


def _cached_pairs(images: list[ImageSource], *, quiet: bool) -> list[tuple[int, int]] | None:
    """The indices of similar images; None if there are more than `MAX_PAIRS_PER_IMAGE`.

    In the cache, the images are numbered in the order of their digests, so that the order of the files has no effect.
    """
    digests = [content_digest(image) for image in images]
    order = sorted(range(len(images)), key=digests.__getitem__)
    file = _cache_file([digests[index] for index in order])
    if file.is_file():
        pairs = json.loads(file.read_text(encoding="utf-8"))
    else:
        pairs = _search([images[index] for index in order], quiet=quiet)
        with suppress(WriteError):  # it is searched again the next time
            write_text(file, json.dumps(pairs))
    return None if pairs is None else [(order[first], order[second]) for first, second in pairs]


def _cache_file(digests: list[bytes]) -> Path:
    settings = (detector.MAX_BITS, detector.MIN_CORRELATION, detector.MIN_CORRELATION_TINY, MAX_PAIRS_PER_IMAGE)
    key = hashlib.sha256(repr(settings).encode() + b"".join(digests)).hexdigest()[:16]
    return cache_folder() / "near-duplicates" / f"{key}.json"


def _search(images: list[ImageSource], *, quiet: bool) -> list[tuple[int, int]] | None:
    hashes = []
    with progress("search near duplicates", total=len(images), quiet=quiet) as advance:
        for image in images:
            hashes.append(_hash(image))
            advance()
    limit = MAX_PAIRS_PER_IMAGE * len(images)
    pairs = [(pair.first, pair.second) for pair in islice(iterate_near_duplicates(hashes), limit + 1)]
    return pairs if len(pairs) <= limit else None


def _hash(image: ImageSource) -> ImageHash:
    if isinstance(image, np.ndarray):
        return perceptual_hash(image)
    try:
        content = image.read_bytes()
        deep = deep_values(content)
        return perceptual_hash(read_image(content, deep and deep.used))  # copies may differ in brightness
    except (UnreadableImage, OSError):  # reported later, when the file is decoded
        return unhashed()
