"""Published names contain no local path."""

import pytest

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
