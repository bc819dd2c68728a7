"""Heat maps with numbered rows and columns, and their colour scale."""

import re
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from PIL import Image, ImageColor

from mixlab.report.colours import HUES, PAGE
from mixlab.report.heat_map import HeatMap, heat_maps
from report.test_figure import texts


def heat_map(rows: int, columns: int, name: str = "mixer") -> HeatMap:
    return HeatMap(np.linspace(0, 1, rows * columns).reshape(rows, columns), name, f"{name}, another seed", "alt")


def test_rows_and_columns_have_numbers():
    (panel,) = heat_maps("t", [heat_map(3, 2)], "CKA").panels
    assert texts(panel.svg()) == ["↓ mixer", "→ mixer, another seed", "1", "2", "3", "1", "2"]


def test_the_scale_has_the_colours_of_the_cells_and_their_numbers():
    html = heat_maps("t", [HeatMap(np.array([[0.3, 1.4, -0.2]]), "a", "b", "alt")], "CKA").html()
    scale, _, panels = html.partition('class="panels"')
    assert texts(scale) == ["CKA", "0", *(f"0.{tenth}" for tenth in range(1, 10)), "1"]
    assert re.findall(r"var\(--blue\); opacity: ([\d.]+)", panels) == ["0.3"]
    assert re.findall(r"var\(--blue\); opacity: ([\d.]+)", scale) == [f"0.{tenth}" for tenth in range(1, 10)]
    assert scale.count('fill: var(--blue)"') == panels.count('fill: var(--blue)"') == 1  # the opaque ones, of 1


def test_a_png_has_the_scale_above_maps_of_equal_size(tmp_path):
    heat_maps("t", [heat_map(3, 2), heat_map(2, 3)], "CKA").save_png(tmp_path / "maps.png")
    with Image.open(tmp_path / "maps.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    ground, blue = (ImageColor.getrgb(colour[0]) for colour in (PAGE["ground"], HUES["blue"]))
    assert (pixels == blue).all(axis=2).sum(axis=1).max() > 0
    half = np.rint(np.add(ground, blue) / 2)
    scale = pixels[: pixels.shape[0] // 3]
    assert (np.abs(scale - half) <= 1).all(axis=2).any()


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (6, 8), (12, 12), (40, 34)])
def test_texts_are_within_their_panel_and_do_not_overlap(monkeypatch, tmp_path, rows, columns):
    save, extents = Canvas.savefig, []

    def measure(canvas: Canvas, *args: object, **named: object) -> None:
        extents.append((canvas.bbox, [text.get_window_extent() for text in canvas.texts]))
        save(canvas, *args, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Canvas, "savefig", measure)
    maps = [heat_map(rows, columns, "timm:vit_tiny_patch16_224:img_size=32:patch_size=4, permute_patches")]
    heat_maps("t", maps, "CKA").save_png(tmp_path / "maps.png")
    for canvas, boxes in extents:
        assert all(canvas.x0 <= box.x0 and box.x1 <= canvas.x1 for box in boxes)
        assert all(canvas.y0 <= box.y0 and box.y1 <= canvas.y1 for box in boxes)
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
