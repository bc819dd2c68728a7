"""Generated images with masks: a bright square on a dark ground, with a border of ignored pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

GROUND, SQUARE, IGNORED = 0, 1, 255


def draw(seed: int, rows: int = 24, columns: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """The image (row, column, 3) and its mask (row, column), both uint8."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (rows, columns, 3), dtype=np.uint8)
    mask = np.full((rows, columns), GROUND, dtype=np.uint8)
    top, left = rng.integers(2, rows - 12), rng.integers(2, columns - 12)
    mask[top - 1 : top + 11, left - 1 : left + 11] = IGNORED
    mask[top : top + 10, left : left + 10] = SQUARE
    image[mask == SQUARE] += 150
    return image, mask


def write_pair(images: Path, masks: Path, name: str, seed: int, rows: int = 24, columns: int = 32) -> None:
    """An image and its mask as PNG files in two folders, which are created."""
    image, mask = draw(seed, rows, columns)
    for folder, array in ((images, image), (masks, mask)):
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / f"{name}.png")


def write_plain(root: Path, images: int = 12) -> Path:
    """The layout images/ masks/ without splits, and classes.txt."""
    for number in range(images):
        write_pair(root / "images", root / "masks", f"{number:02d}", number)
    (root / "classes.txt").write_text("ground\nsquare\n")
    return root


def write_camvid(root: Path) -> Path:
    """CamVid's layout with classes.txt, and lists with paths of another machine."""
    for split, numbers in (("train", range(8)), ("val", range(8, 10)), ("test", range(10, 13))):
        for number in numbers:
            write_pair(root / split, root / f"{split}annot", f"{number:02d}", number)
        lines = [f"/Elsewhere/{split}/{number:02d}.png /Elsewhere/{split}annot/{number:02d}.png" for number in numbers]
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    (root / "classes.txt").write_text("ground\nsquare\n")
    return root
