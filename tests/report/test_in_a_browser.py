"""The page in a real browser, at the width of a desktop and of a phone."""

import pytest


@pytest.mark.long
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_fits_its_window_and_the_browser_logs_no_errors(page, width, opened):
    assert opened(page.html(), width) == (width, "")
