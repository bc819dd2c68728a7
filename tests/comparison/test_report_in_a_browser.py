"""The report in a real browser, with content that may overflow: many models, seeds and classes, long names."""

import pytest

from mixlab.comparison.compare_page import compare_page


@pytest.mark.long
@pytest.mark.parametrize("width", [1280, 390])
def test_a_large_report_fits_the_window_without_browser_errors(make_comparison, width, opened):
    models = {f"timm:vit_tiny_patch16_224:img_size=32:patch_size={patch}": 98 - patch for patch in range(12)}
    classes = [f"n{index:05d} a class with a name like an encyclopaedia's, 고양이" for index in range(29)]
    comparison = make_comparison(
        models, seeds=20, classes=classes, n_images=400, data="folder:/home/somebody/with/a/long/path"
    )
    assert opened(compare_page(comparison).html(), width) == (width, "")


@pytest.mark.long
def test_a_minimal_report_fits_a_phone(make_comparison, opened):
    comparison = make_comparison({"a": 90.0, "b": 80.0}, seeds=1, classes=["no", "yes"], n_images=20, epochs=1)
    assert opened(compare_page(comparison).html(), 390) == (390, "")
