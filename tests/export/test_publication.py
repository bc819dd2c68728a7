"""Published names contain no local path, and the card describes the preprocessing."""

import pytest

from mixlab.data.preprocess import Preprocess
from mixlab.export.model_card import _preprocessing_text
from mixlab.export.publication import public_name


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("digits", "digits"),
        ("folder:/home/me/pets", "folder:pets"),
        ("folder:pets/", "folder:pets"),
        ("cifar10:/data/cifar", "cifar10"),
    ],
)
def test_local_paths_are_removed_from_the_name_of_the_data(data: str, expected: str):
    assert public_name(data) == expected


def test_the_card_describes_the_value_range_of_deep_images():
    assert _preprocessing_text(Preprocess((8, 8), value_range=(0, 4095))).endswith(
        " In images with more than 8 bits, 0 is black and 4095 is white."
    )
    assert _preprocessing_text(Preprocess((8, 8))).endswith("mixlab applies this preprocessing.")
