"""Baselines that need no training."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mixlab.data.dataset import Split
from mixlab.data.sources import open_dataset
from mixlab.evaluation import baselines as module
from mixlab.evaluation.baselines import baselines, majority_class, nearest_neighbour
from mixlab.stats.intervals import proportion_interval


def test_the_baselines_of_the_digits_use_train_and_validation_images():
    """Reference: scikit-learn's classifiers, fitted on images 0..1286 and tested on 1287..1796."""
    splits = open_dataset("digits").splits
    accuracies = baselines(splits["train"].concat(splits["validation"]), splits["test"])
    assert accuracies == {
        "majority class": proportion_interval(52, 510),  # 10.2 %
        "1-nearest neighbour": proportion_interval(490, 510),  # 96.1 %
    }


def test_the_majority_class_is_that_of_the_training_images():
    assert majority_class(np.array([2, 0, 2, 1]), images=3).tolist() == [2, 2, 2]


def test_the_nearest_neighbour_has_the_smallest_euclidean_distance():
    """The other image would be nearer by the sum of differences, or with uint8 overflow."""
    train = np.array([[100, 100], [100, 160]], dtype=np.uint8)
    image = np.array([[135, 135]], dtype=np.uint8)  # 35² + 35² = 2450 from the first, 35² + 25² = 1850 from the second
    assert nearest_neighbour(train, np.array([0, 1]), image).tolist() == [1]


def make_split(*images: np.ndarray) -> Split:
    return Split([str(i) for i in range(len(images))], np.arange(len(images)) % 2, list(images))


def constant_image(value: int, rows: int, columns: int) -> np.ndarray:
    return np.full((rows, columns, 3), value, dtype=np.uint8)


@pytest.mark.parametrize("sizes", [[(8, 8), (12, 5)], [(40, 50), (300, 200)], [(8, 8), (200, 100)]])
def test_images_of_different_sizes_have_nearest_neighbours(sizes):
    train = make_split(*(constant_image(value, *size) for size in sizes for value in (40, 200)))
    test = make_split(*(constant_image(value, *reversed(size)) for size in sizes for value in (60, 180)))
    assert baselines(train, test)["1-nearest neighbour"].value == 100.0


def test_small_images_of_one_size_are_not_resized():
    """Resizing would blur the single pixel in which the two classes differ."""
    dark, lit = constant_image(0, 20, 20), constant_image(0, 20, 20)
    lit[3, 3] = 255
    accuracies = baselines(make_split(dark, lit), make_split(dark, lit))
    assert accuracies["1-nearest neighbour"].value == 100.0


def test_large_images_are_not_held_in_memory(tmp_path, monkeypatch):
    """The pixels of a folder of photographs may exceed the memory of the machine."""
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for value, path in zip((10, 200, 20, 210), paths, strict=True):
        Image.fromarray(constant_image(value, 300, 400)).save(path)
    split = replace(make_split(*[constant_image(0, 1, 1)] * 4), images=paths)
    in_memory = []
    limit_size = module._limit_size
    monkeypatch.setattr(module, "_limit_size", lambda image: in_memory.append(limit_size(image)) or in_memory[-1])
    baselines(split, split)
    assert {image.shape for image in in_memory} == {(32, 32, 3)}


def test_deep_images_are_compared_in_one_value_range(tmp_path):
    paths = [tmp_path / f"{white}-{number}.png" for white in (1023, 4095) for number in range(4)]
    for path in paths:
        white = int(path.name.partition("-")[0])
        Image.fromarray(np.array([[0, white]], dtype=np.uint16)).save(path)
    split = Split([path.name for path in paths], np.repeat([0, 1], 4), paths)
    assert baselines(split.subset([0, 1, 4, 5]), split.subset([2, 3, 6, 7]))["1-nearest neighbour"].value == 100
