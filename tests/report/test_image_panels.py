import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from PIL import Image

from mixlab.report.image_panels import ImageFigure, ImagePanel


def test_headings_are_wrapped_to_their_panels_and_do_not_cover_the_images(monkeypatch, tmp_path):
    save, extents = Canvas.savefig, []

    def measure(canvas: Canvas, *args: object, **named: object) -> None:
        (text,), (axes,) = canvas.texts, canvas.axes
        extents.append((canvas.bbox, text.get_window_extent(), axes.get_window_extent()))
        save(canvas, *args, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Canvas, "savefig", measure)
    image = np.zeros((60, 90, 3), dtype=np.uint8)
    headings = ("convmixer_nano (down) and vit_nano_learned (across), two seeds of each of them", "short")
    ImageFigure("Similarity", [ImagePanel(heading, image, "alt") for heading in headings]).save_png(tmp_path / "a.png")
    assert len(extents) == len(headings)
    for canvas, text, axes in extents:
        assert canvas.x0 <= text.x0 and text.x1 <= canvas.x1
        assert axes.y1 <= text.y0 and text.y1 <= canvas.y1


@pytest.mark.parametrize(("width", "columns"), [(200, 3), (380, 2), (572, 1)])
def test_wide_panels_are_below_each_other_so_that_a_png_fits_a_page(width, columns, tmp_path):
    panels = [ImagePanel(f"block {number}", np.zeros((60, width, 3), dtype=np.uint8), "alt") for number in range(3)]
    ImageFigure("Filters", panels).save_png(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] == 2 * (columns * (max(width, 240) + 28) + 28) <= 1760
