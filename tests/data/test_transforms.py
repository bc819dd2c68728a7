"""Fixed permutations of patches and pixels."""

import pytest
import torch
from einops import rearrange
from torch import Tensor

from mixlab.data.transforms import Name, Transform
from mixlab.errors import UserError

NAMES: tuple[Name, ...] = ("permute_patches", "permute_pixels_in_patches", "permute_patches_and_pixels")


@pytest.fixture
def images() -> Tensor:
    """Two images of 8 x 12 pixels; all values differ."""
    return torch.arange(2 * 3 * 8 * 12, dtype=torch.float32).reshape(2, 3, 8, 12)


def patches(images: Tensor) -> Tensor:
    return rearrange(images, "image channel (row y) (column x) -> image (row column) (y x) channel", y=4, x=4)


def test_patches_move_as_a_whole(images):
    moved, transform = Transform("permute_patches", seed=3, patch_size=4)(images), Transform("permute_patches", 3, 4)
    order = transform.patch_order(6)
    assert order.tolist() != list(range(6)) and sorted(order.tolist()) == list(range(6))
    assert torch.equal(patches(moved), patches(images)[:, order])


def test_pixels_move_alike_within_every_patch(images):
    transform = Transform("permute_pixels_in_patches", seed=3, patch_size=4)
    order = transform.pixel_order(16)
    assert order.tolist() != list(range(16)) and sorted(order.tolist()) == list(range(16))
    assert torch.equal(patches(transform(images)), patches(images)[:, :, order])


def test_both_is_one_after_the_other_with_the_same_seed(images):
    only_patches, only_pixels, both = (Transform(name, seed=5, patch_size=4) for name in NAMES)
    assert torch.equal(both(images), only_pixels(only_patches(images)))
    assert torch.equal(both(images), only_patches(only_pixels(images)))


def test_all_pixels_move_across_patches_with_their_colours(images):
    moved = Transform("permute_all_pixels", seed=0)(images)
    assert sorted(moved[0, 0].flatten().tolist()) == sorted(images[0, 0].flatten().tolist())
    assert torch.equal(moved[0, 1] - moved[0, 0], images[0, 1] - images[0, 0])
    assert not torch.equal(patches(moved).sum((2, 3)).sort().values, patches(images).sum((2, 3)).sort().values)


def test_a_seed_has_independent_permutations_of_patches_and_pixels(images):
    transform = Transform("permute_patches_and_pixels", seed=0, patch_size=4)
    assert transform.patch_order(16).tolist() != transform.pixel_order(16).tolist()
    other = Transform("permute_patches_and_pixels", seed=1, patch_size=4)
    assert not torch.equal(transform(images), other(images))
    assert torch.equal(transform(images), Transform("permute_patches_and_pixels", seed=0, patch_size=4)(images))


@pytest.mark.parametrize("name", [*NAMES, "permute_all_pixels"])
def test_a_transform_is_restored_from_its_settings(name, images):
    transform = Transform(name, seed=2, patch_size=None if name == "permute_all_pixels" else 4)
    assert torch.equal(Transform.from_dict(transform.to_dict())(images), transform(images))


def test_a_missing_or_unused_patch_size_is_refused():
    with pytest.raises(UserError, match=r'transform.name="permute_pixels_in_patches" needs transform.patch_size'):
        Transform("permute_pixels_in_patches")
    with pytest.raises(UserError, match=r'transform.name="permute_all_pixels" has no patches: remove patch_size'):
        Transform("permute_all_pixels", patch_size=4)


def test_a_patch_size_that_does_not_divide_the_image_is_refused(images):
    with pytest.raises(UserError, match=r"transform.patch_size=5 does not divide images of 8 x 12 pixels"):
        Transform("permute_patches", patch_size=5)(images)
