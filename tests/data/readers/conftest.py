"""Fixtures that the readers of archives share."""

import pytest


@pytest.fixture
def packed_pets(write_tree, packed):
    """The fixture `packed` of the test file, with the folders of two classes to pack."""
    write_tree("cat", 10)
    write_tree("dog", 10)
    return packed
