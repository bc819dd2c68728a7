"""Errors of other libraries in one line."""

import pytest

from mixlab.errors import in_one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "ValueError: first"),
        (RuntimeError(" \n indented"), "RuntimeError: indented"),
        (AssertionError(), "AssertionError: no reason given"),
    ],
)
def test_an_error_is_named_with_the_first_line_of_its_message(error, line):
    assert in_one_line(error) == line
