"""Images that show the same thing are found, and others are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mixlab.data.inspection import near_duplicates
from mixlab.data.inspection.near_duplicates import BITS, connected_groups, perceptual_hash


def scene(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Soft blots of colour, as a photograph out of focus."""
    values = np.random.default_rng(seed).integers(0, 256, (7, 6, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def as_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40)
    return Image.open(file)


def pairs(*images: Image.Image) -> list[tuple[int, int]]:
    found = near_duplicates.near_duplicates([perceptual_hash(np.asarray(image.convert("RGB"))) for image in images])
    return [(pair.first, pair.second) for pair in found]


CHANGES = {  # to a person it stays the same image
    "encoded again": as_jpeg,
    "half as large": lambda image: image.resize((48, 40)),
    "stretched": lambda image: image.resize((80, 96)),
    "brighter": lambda image: image.point(lambda level: min(level * 1.15, 255)),
    "softened": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(change: str):
    assert pairs(scene(0), scene(1), CHANGES[change](scene(0))) == [(0, 2)]


def test_of_many_random_images_none_are_alike():
    assert pairs(*(scene(seed) for seed in range(300))) == []


def test_equal_hashes_of_other_colours_are_told_apart_by_their_thumbnails():
    values = np.asarray(scene(0)).astype(np.float32)
    grey = values.mean(axis=-1, keepdims=True)
    tinted = Image.fromarray((grey + (values - grey)[..., [1, 2, 0]]).clip(0, 255).astype(np.uint8))
    bits, of_tinted = (perceptual_hash(np.asarray(image)).bits for image in (scene(0), tinted))
    assert bits is not None and of_tinted is not None
    assert np.count_nonzero(bits != of_tinted) < BITS / 2
    assert pairs(scene(0), tinted) == []


def test_plain_images_are_like_no_others():
    assert pairs(*(Image.new("RGB", (40, 40), shade) for shade in ("white", "white", "black", "#fefefe"))) == []


def test_faint_noise_is_plain_too():
    noise = np.random.default_rng(0).integers(126, 130, (40, 40, 3), dtype=np.uint8)
    assert perceptual_hash(noise).bits is None


def test_stripes_have_a_hash_and_are_told_from_stripes_across():
    stripes = np.repeat(np.repeat([[0, 90, 180, 40, 255]], 40, axis=0), 8, axis=1).astype(np.uint8)
    upright, across = Image.fromarray(stripes), Image.fromarray(stripes.T)
    assert pairs(upright, across, as_jpeg(upright)) == [(0, 2)]


def test_tiny_images_have_to_be_more_alike_than_others():
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    other = values + np.random.default_rng(1).integers(-30, 31, values.shape)
    image, changed = (Image.fromarray(each.clip(0, 255).astype(np.uint8)) for each in (values, other))
    enlarged = [each.resize((32, 32), Image.Resampling.NEAREST) for each in (image, changed)]
    assert pairs(*enlarged) == [(0, 1)]
    assert pairs(image, changed) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_the_smallest_and_the_thinnest_images_have_a_look(size: tuple[int, int]):
    assert perceptual_hash(np.asarray(scene(0, size))).thumbnail.shape == (16, 16, 3)


def test_pairs_are_found_across_the_blocks_of_the_search(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(near_duplicates, "_ROWS", 2)
    assert pairs(scene(0), scene(1), scene(2), scene(3), as_jpeg(scene(3)), as_jpeg(scene(0))) == [(0, 5), (3, 4)]


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_no_pair(count: int):
    assert pairs(*(scene(0) for _ in range(count))) == []


def test_images_are_linked_through_others():
    assert connected_groups([(0, 3), (3, 5), (1, 2)], 7) == [[0, 3, 5], [1, 2]]
    assert connected_groups([], 4) == []
