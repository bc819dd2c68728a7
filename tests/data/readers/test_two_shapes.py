"""Generated images in which only the relative position of two shapes decides the class."""

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Split
from mixlab.data.readers.two_shapes import CLASSES
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError

RING = ["1111", "1001", "1001", "1111"]
CROSS = ["1001", "0110", "0110", "1001"]
STEP = {"left": (0, -1), "right": (0, 1), "above": (-1, 0), "below": (1, 0)}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return open_dataset("two-shapes")


def cells(image: np.ndarray) -> np.ndarray:
    """(row, column, pixel row, pixel column, 3) of the grid of cells."""
    return image.reshape(8, 4, 8, 4, 3).transpose(0, 2, 1, 3, 4)


def place_of(shape: list[str], image: np.ndarray) -> np.ndarray:
    """The only cell with this shape, found from the pixels: the shapes are on black."""
    mask = np.array([[digit == "1" for digit in row] for row in shape])
    (place,) = np.argwhere(((cells(image) > 0) == mask[..., None]).all(axis=(2, 3, 4)))
    return place


def patches(image: np.ndarray, side: int) -> list[bytes]:
    """The patches of an image, sorted."""
    grid = image.reshape(32 // side, side, 32 // side, side, 3).transpose(0, 2, 1, 3, 4)
    return sorted(patch.tobytes() for patch in grid.reshape(-1, side, side, 3))


def test_the_splits_have_equally_many_images_of_each_class(dataset):
    counts = {name: np.bincount(split.labels).tolist() for name, split in dataset.splits.items()}
    assert counts == {"train": [2250] * 4, "validation": [250] * 4, "test": [500] * 4}
    assert dataset.classes == CLASSES


def test_the_class_is_where_the_ring_is_seen_from_the_cross(dataset):
    test = dataset.splits["test"]
    for index in range(200):
        image = test.image(index)
        offset = place_of(RING, image) - place_of(CROSS, image)
        assert tuple(np.sign(offset)) == STEP[CLASSES[test.labels[index]]]


def test_every_class_has_shapes_in_all_places_where_it_is_possible(dataset):
    train = dataset.splits["train"]
    places = [tuple(place_of(RING, train.image(index))) for index in range(0, 4000, 4)]
    assert {CLASSES[train.labels[index]] for index in range(0, 4000, 4)} == {"left"}
    assert set(places) == {(row, column) for row in range(8) for column in range(7)}


@pytest.mark.parametrize("side", [1, 2, 4])
def test_the_four_images_of_a_group_have_the_same_patches_and_one_of_each_class(side, dataset):
    test = dataset.splits["test"]
    for first in range(0, 40, 4):
        group = range(first, first + 4)
        assert len({test.groups[index] for index in group}) == 1
        assert sorted(test.labels[index] for index in group) == [0, 1, 2, 3]
        assert all(patches(test.image(index), side) == patches(test.image(first), side) for index in group)


def test_patches_of_8_pixels_differ_within_a_group(dataset):
    test = dataset.splits["test"]
    assert patches(test.image(0), 8) != patches(test.image(1), 8)


def test_no_group_is_in_two_splits_and_no_image_is_repeated(dataset):
    groups = [set(split.groups) for split in dataset.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 3000
    images = [image.tobytes() for split in dataset.splits.values() for image in all_images(split)]
    assert len(set(images)) == 12_000


def all_images(split: Split) -> list[np.ndarray]:
    return [split.image(index) for index in range(len(split))]


def test_the_images_follow_from_the_seed(dataset):
    assert dataset.fingerprint == "bb84e18000cba5eb3417cc484b6af95d"
    assert open_dataset("two-shapes:0").splits["test"].image(3).tolist() == dataset.splits["test"].image(3).tolist()
    other = open_dataset("two-shapes:7")
    assert other.name == "two-shapes:7"
    assert not np.array_equal(other.splits["test"].image(3), dataset.splits["test"].image(3))


@pytest.mark.parametrize("seed", ["x", "-1", "1.5", str(2**63)])
def test_a_seed_that_is_not_a_number_is_refused(seed):
    with pytest.raises(
        UserError, match=r"two-shapes has the seed .*, which is not a whole number .*: write two-shapes:1"
    ):
        open_dataset(f"two-shapes:{seed}")
