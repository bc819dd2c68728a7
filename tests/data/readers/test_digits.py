import numpy as np
import pytest

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("digits")


def test_the_images_are_those_of_scikit_learn(digits):
    from sklearn.datasets import load_digits

    images, target = load_digits(return_X_y=True)
    labels = np.concatenate([split.labels for split in digits.splits.values()])
    pixels = np.stack([split.image(i)[..., 0] for split in digits.splits.values() for i in range(len(split))])
    assert (labels == target).all()
    assert (np.round(pixels * (16 / 255)) == images.reshape(-1, 8, 8)).all()


def test_the_splits_are_consecutive_blocks(digits):
    assert {name: len(split) for name, split in digits.splits.items()} == {
        "train": 1157,
        "validation": 130,
        "test": 510,
    }
    assert digits.splits["train"].names[0] == "digits/0000"
    assert digits.splits["validation"].names[0] == "digits/1157"
    assert digits.splits["test"].names[0] == "digits/1287"
    assert digits.splits["test"].names[-1] == "digits/1796"


def test_full_ink_is_255_in_each_channel(digits):
    image = digits.splits["train"].image(0)
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    assert image.max() == round(15 / 16 * 255)  # this image's darkest pixel is 15 of 16
    assert (image == image[..., :1]).all()
