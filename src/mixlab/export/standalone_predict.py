"""Predicts the labels of image files: python predict.py IMAGE [IMAGE ...]. Written by mixlab beside the model."""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mixlab.export.standalone_onnx import open_model

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
FOLDER = Path(__file__).parent


def decode(file, value_range=None):
    """An image file, or an open one, as uint8 (row, column, 3): upright RGB, over white where it is transparent."""
    Image.init()
    with Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN]) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
        if image.mode[0] in "IF":
            image = Image.fromarray(to_8_bits(np.array(image, dtype=np.float64), opened, value_range))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def to_8_bits(values, opened, value_range):
    """The values of a grey image with more than 8 bits, scaled from (black, white), which are guessed if not given."""
    values = np.nan_to_num(values, nan=0, posinf=0, neginf=0)
    low, high = value_range or guess_range(opened, values.min(), values.max())
    scaled = (values - low) * (255 / max(high - low, np.finfo(np.float64).tiny))
    return np.round(scaled.clip(0, 255)).astype(np.uint8)


def guess_range(opened, low, high):
    bits = [16] if opened.format in ("PPM", "JPEG2000") and opened.mode != "F" else [8, 10, 12, 14, 16]
    if opened.format == "TIFF" and opened.mode.startswith("I;16") and opened.tag_v2[258][0] < 16:
        return 0.0, 2.0 ** opened.tag_v2[258][0] - 1
    whites = [1.0] * (opened.mode == "F") + [2.0**count - 1 for count in bits]
    return next(((0.0, white) for white in whites if low >= 0 and high <= white), (low, high))


if __name__ == "__main__":
    card = json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))
    classify = open_model(FOLDER, card)
    for name in sys.argv[1:]:
        probabilities = classify(decode(name, card["preprocess"].get("value_range")))
        print(name, card["classes"][probabilities.argmax()], f"{probabilities.max():.3f}", sep="\t")
