"""A picture file, of the kinds that people have, to uint8 (row, column, RGB)."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mixlab.errors import UserError


class UnreadablePicture(UserError):  # noqa: N818  named for what it is
    """`picture` names the file, `reason` says why it can't be read."""

    def __init__(self, picture: str, reason: str):
        super().__init__(picture, reason)
        self.picture, self.reason = picture, reason

    def __str__(self) -> str:
        return f"{self.picture} can't be read: {self.reason}."


def read_image(source: Path | bytes) -> UInt8[np.ndarray, "row column 3"]:
    assert isinstance(source, Path)
    with Image.open(source) as image:
        return np.array(image.convert("RGB"))
