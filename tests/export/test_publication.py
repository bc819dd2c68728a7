"""What a published run tells of where it was trained."""

import pytest

from mixlab.export.publication import public_name


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("digits", "digits"),
        ("folder:/home/me/pets", "folder:pets"),
        ("folder:pets/", "folder:pets"),
        ("cifar10:/data/cifar", "cifar10"),
    ],
)
def test_a_path_is_not_told(data: str, told: str):
    assert public_name(data) == told
