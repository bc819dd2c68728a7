"""Published names contain no local path, and the card describes the preprocessing."""

from typing import get_args

import pytest

from mixlab.data.name_groups import public_name
from mixlab.data.preprocess import Preprocess, Resize
from mixlab.export.model_card import _preprocessing_text


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


def test_the_card_describes_each_kind_of_resizing():
    text = [_preprocessing_text(Preprocess((8, 8), resize, 0.5)) for resize in get_args(Resize)]
    assert text[0].startswith("An image is stretched to 8x8 pixels (bicubic). ")
    assert text[1].startswith("An image is resized to cover 8x8 pixels divided by 0.5 (bicubic), and cropped to the ")
    assert text[2].startswith(
        "An image is stretched to 8x8 pixels divided by 0.5 (bicubic), and cropped to the central"
    )
