"""What a model has to beat."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mixlab.data.dataset import Split
from mixlab.data.sources import open_dataset
from mixlab.evaluation import baselines as module
from mixlab.evaluation.baselines import baselines, majority_class, nearest_neighbour
from mixlab.stats.intervals import proportion_interval


def test_the_digits_baselines_fitted_on_all_images_before_the_test_part():
    """Counted with scikit-learn's classifiers on the images 0..1286 and 1287..1796."""
    splits = open_dataset("digits").splits
    found = baselines(splits["train"].concat(splits["validation"]), splits["test"])
    assert found == {
        "majority class": proportion_interval(52, 510),  # 10.2 %
        "1-nearest neighbour": proportion_interval(490, 510),  # 96.1 %
    }


def test_the_majority_is_that_of_the_training_images():
    assert majority_class(np.array([2, 0, 2, 1]), images=3).tolist() == [2, 2, 2]


def test_the_nearest_image_is_the_one_with_the_smallest_euclidean_distance():
    """By the sum of differences, or in uint8 that wraps around, the other one would be nearer."""
    train = np.array([[100, 100], [100, 160]], dtype=np.uint8)
    near = np.array([[135, 135]], dtype=np.uint8)  # 35² + 35² = 2450 from the first, 35² + 25² = 1850 from the second
    assert nearest_neighbour(train, np.array([0, 1]), near).tolist() == [1]


def part_of(*images: np.ndarray) -> Split:
    return Split([str(i) for i in range(len(images))], np.arange(len(images)) % 2, list(images))


def flat(value: int, rows: int, columns: int) -> np.ndarray:
    return np.full((rows, columns, 3), value, dtype=np.uint8)


@pytest.mark.parametrize("sizes", [[(8, 8), (12, 5)], [(40, 50), (300, 200)], [(8, 8), (200, 100)]])
def test_images_of_any_sizes_find_their_neighbours(sizes):
    train = part_of(*(flat(value, *size) for size in sizes for value in (40, 200)))
    test = part_of(*(flat(value, *reversed(size)) for size in sizes for value in (60, 180)))
    assert baselines(train, test)["1-nearest neighbour"].value == 100.0


def test_small_images_of_one_size_are_compared_as_they_are():
    """Resizing would blur a single pixel that alone tells two classes apart."""
    dark, lit = flat(0, 20, 20), flat(0, 20, 20)
    lit[3, 3] = 255
    found = baselines(part_of(dark, lit), part_of(dark, lit))
    assert found["1-nearest neighbour"].value == 100.0


def test_no_large_image_is_held_in_memory(tmp_path, monkeypatch):
    """A folder of photographs has more pixels than a machine has memory."""
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for value, path in zip((10, 200, 20, 210), paths, strict=True):
        Image.fromarray(flat(value, 300, 400)).save(path)
    split = replace(part_of(*[flat(0, 1, 1)] * 4), images=paths)
    held = []
    small = module._small
    monkeypatch.setattr(module, "_small", lambda image: held.append(small(image)) or held[-1])
    baselines(split, split)
    assert {image.shape for image in held} == {(32, 32, 3)}
