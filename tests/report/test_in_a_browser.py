"""The page in a real browser, at the width of a desk and of a telephone."""

import pytest


@pytest.mark.long
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_fits_its_window_and_the_browser_has_no_complaints(page, width, opened):
    assert opened(page.html(), width) == (width, "")
