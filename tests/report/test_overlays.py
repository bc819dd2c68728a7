"""Images with overlays and colour bars."""

import io

import numpy as np
import pytest
from PIL import Image

from mixlab.report.overlays import SIDE, Overlay, blended, overlay_panel

IMAGE = np.random.default_rng(0).integers(0, 256, size=(6, 9, 3), dtype=np.uint8)


def test_an_overlay_shows_the_image_in_grey_where_the_map_is_0():
    pixels = blended(IMAGE, np.zeros((6, 9)), limit=1)
    assert np.ptp(pixels, axis=2).max() == pytest.approx(0)
    assert np.corrcoef(pixels[..., 0].ravel(), IMAGE.mean(axis=2).ravel())[0, 1] > 0.8


def test_positive_values_are_reddish_and_negative_values_bluish():
    values = np.zeros((6, 9))
    values[0], values[1] = 1, -1
    pixels = blended(IMAGE, values, limit=1)
    assert (pixels[0, :, 0] > pixels[0, :, 2]).all()
    assert (pixels[1, :, 0] < pixels[1, :, 2]).all()


@pytest.mark.parametrize("values", [np.zeros((6, 9)), np.arange(54.0).reshape(6, 9) - 20])
def test_the_panel_has_the_image_and_one_overlay_for_each_map(values):
    overlays = [Overlay("occlusion", values, "nats", (1, 2, 3, 4))] * 2
    one, two = (overlay_panel("cat, 90 %", "a.png", IMAGE, overlays[:count]) for count in (1, 2))
    assert two.width - one.width > SIDE
    pixels = np.array(Image.open(io.BytesIO(two.png())).convert("RGB"))
    assert pixels.shape == (2 * two.height, 2 * two.width, 3)
    assert two.alt == "cat, 90 %, a.png"
