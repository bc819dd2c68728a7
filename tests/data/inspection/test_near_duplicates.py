"""Near duplicates are found, and different images are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mixlab.data.inspection import near_duplicates
from mixlab.data.inspection.near_duplicates import BITS, connected_groups, perceptual_hash


def scene(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Blurred spots of colour, like a photograph out of focus."""
    values = np.random.default_rng(seed).integers(0, 256, (7, 6, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def as_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40)
    return Image.open(file)


def pairs(*images: Image.Image) -> list[tuple[int, int]]:
    result = near_duplicates.near_duplicates([perceptual_hash(np.asarray(image.convert("RGB"))) for image in images])
    return [(pair.first, pair.second) for pair in result]


CHANGES = {  # changes after which a person sees the same image
    "encoded again": as_jpeg,
    "half as large": lambda image: image.resize((48, 40)),
    "stretched": lambda image: image.resize((80, 96)),
    "brighter": lambda image: image.point(lambda level: min(level * 1.15, 255)),
    "softened": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(change: str):
    assert pairs(scene(0), scene(1), CHANGES[change](scene(0))) == [(0, 2)]


def test_random_images_are_not_duplicates():
    assert pairs(*(scene(seed) for seed in range(300))) == []


def test_similar_hashes_with_different_colours_are_not_duplicates():
    values = np.asarray(scene(0)).astype(np.float32)
    grey = values.mean(axis=-1, keepdims=True)
    tinted = Image.fromarray((grey + (values - grey)[..., [1, 2, 0]]).clip(0, 255).astype(np.uint8))
    bits, tinted_bits = (perceptual_hash(np.asarray(image)).bits for image in (scene(0), tinted))
    assert bits is not None and tinted_bits is not None
    assert np.count_nonzero(bits != tinted_bits) < BITS / 2
    assert pairs(scene(0), tinted) == []


def test_blank_images_are_not_near_duplicates():
    assert pairs(*(Image.new("RGB", (40, 40), shade) for shade in ("white", "white", "black", "#fefefe"))) == []


def test_faint_noise_is_blank():
    noise = np.random.default_rng(0).integers(126, 130, (40, 40, 3), dtype=np.uint8)
    assert perceptual_hash(noise).bits is None


def test_stripes_in_different_directions_are_not_duplicates():
    stripes = np.repeat(np.repeat([[0, 90, 180, 40, 255]], 40, axis=0), 8, axis=1).astype(np.uint8)
    vertical, horizontal = Image.fromarray(stripes), Image.fromarray(stripes.T)
    assert pairs(vertical, horizontal, as_jpeg(vertical)) == [(0, 2)]


def test_tiny_images_need_a_higher_correlation():
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    other = values + np.random.default_rng(1).integers(-30, 31, values.shape)
    original, changed = (Image.fromarray(pixels.clip(0, 255).astype(np.uint8)) for pixels in (values, other))
    enlarged = [image.resize((32, 32), Image.Resampling.NEAREST) for image in (original, changed)]
    assert pairs(*enlarged) == [(0, 1)]
    assert pairs(original, changed) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_very_small_and_narrow_images_can_be_hashed(size: tuple[int, int]):
    assert perceptual_hash(np.asarray(scene(0, size))).thumbnail.shape == (16, 16, 3)


def test_pairs_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(near_duplicates, "_ROWS", 2)
    assert pairs(scene(0), scene(1), scene(2), scene(3), as_jpeg(scene(3)), as_jpeg(scene(0))) == [(0, 5), (3, 4)]


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_have_no_pairs(count: int):
    assert pairs(*(scene(0) for _ in range(count))) == []


def test_groups_are_connected_components():
    assert connected_groups([(0, 3), (3, 5), (1, 2)], 7) == [[0, 3, 5], [1, 2]]
    assert connected_groups([], 4) == []


def test_copies_of_other_images_are_found():
    hashes = [perceptual_hash(np.asarray(image.convert("RGB"))) for image in (scene(0), scene(1), scene(2))]
    changed = as_jpeg(scene(1)).convert("RGB")
    others = [perceptual_hash(np.asarray(image)) for image in (scene(3), Image.new("RGB", (40, 40)), changed)]
    assert near_duplicates.have_near_duplicate(hashes, others).tolist() == [False, True, False]
    assert near_duplicates.have_near_duplicate(hashes, []).tolist() == [False] * 3
    assert near_duplicates.have_near_duplicate([], others).tolist() == []
