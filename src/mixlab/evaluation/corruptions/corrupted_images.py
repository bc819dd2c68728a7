"""Corrupted copies of a split, computed while its images are read.

    images = corrupted(split, preprocess, "fog", 3)
    batches = EvalBatches(images, without_resizing(preprocess), batch=64, workers=8)

As in ImageNet-C, an image is resized and cropped for the model first, and corrupted then.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from mixlab.data.dataset import ImageSource, Split
from mixlab.data.image_file import read_image
from mixlab.data.preprocess import Preprocess
from mixlab.data.rng import named_generator
from mixlab.evaluation.corruptions.corrupt import check_corruption, corrupt


@dataclass(frozen=True)
class CorruptedImage:
    """An image file that is computed when it is read. See `mixlab.data.dataset.ContainedFile`."""

    name: str
    image: ImageSource
    preprocess: Preprocess
    kind: str
    severity: int
    seed: int

    def __str__(self) -> str:
        return self.name if isinstance(self.image, np.ndarray) else str(self.image)

    @property
    def size(self) -> int:
        return len(self._header) + 3 * self.preprocess.image_size[0] * self.preprocess.image_size[1]

    def read_bytes(self) -> bytes:
        """The corrupted image in the format PPM, which is not compressed. Raises UnreadableImage and UserError."""
        return self._header + self.pixels().tobytes()

    def pixels(self) -> UInt8[np.ndarray, "row column 3"]:
        """The corrupted image. Raises UnreadableImage and UserError."""
        image = self.image
        original = image if isinstance(image, np.ndarray) else read_image(image, self.preprocess.value_range)
        resized = self.preprocess.resized(original).permute(1, 2, 0).numpy()
        rng = named_generator(self.seed, self.name, self.kind, self.severity)
        return corrupt(resized, self.kind, self.severity, rng)

    @property
    def _header(self) -> bytes:
        rows, columns = self.preprocess.image_size
        return f"P6 {columns} {rows} 255\n".encode()


def corrupted(split: Split, preprocess: Preprocess, kind: str, severity: int, *, seed: int = 0) -> Split:
    """The images of `split`, resized by `preprocess` and corrupted. Nothing is read before an image is.

    kind, severity  of the corruption, see `mixlab.evaluation.corruptions.corrupt.corrupt`
    seed            of the random numbers, which depend on seed, name of the image, kind and severity only

    Raises UserError for an unknown kind or severity.
    """
    check_corruption(kind, severity)
    images = [
        CorruptedImage(name, image, preprocess, kind, severity, seed)
        for name, image in zip(split.names, split.images, strict=True)
    ]
    return replace(split, images=images)


def without_resizing(preprocess: Preprocess) -> Preprocess:
    """The preprocessing of images that `preprocess` has resized already."""
    return replace(preprocess, resize="stretch", value_range=None)
