"""From images to labels with probabilities.

    predictor = Predictor("runs/first")
    predictor("cat.jpg").label            # "cat"
    predictor("cat.jpg").top(3)           # [("cat", 0.93), ("fox", 0.05), ("dog", 0.01)]

Axes:  image      one of a batch
       row, column  pixels of the size that the model was trained at
       class        one of `Predictor.classes`
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mixlab.data.image_file import UnreadableImage, read_image
from mixlab.errors import UserError
from mixlab.measure.machine import pick_device
from mixlab.weights.load import build_with_weights, load_pretrained

ImageInput = str | Path | bytes | np.ndarray
"""A file, a file's content, or uint8 (row, column, RGB)."""

BATCH = 64


@dataclass(frozen=True, eq=False)
class Prediction:
    """`probabilities`: from 0 to 1, one for each of `classes`; together they are 1."""

    classes: tuple[str, ...]
    probabilities: Float[np.ndarray, " class"]

    @property
    def label(self) -> str:
        return self.top(1)[0][0]

    def top(self, count: int) -> list[tuple[str, float]]:
        """The `count` most probable classes, the most probable first; of equal ones, the first class."""
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[place], float(self.probabilities[place])) for place in best]


class Predictor:
    """A finished model that answers images; `source` is the folder of its run, or any weights that `load` takes."""

    def __init__(self, source: str | Path):
        opened = load_pretrained(source)
        if not opened.classes:
            raise UserError(f"{source} has no head, so it answers with no label: give a model with classes.")
        self.classes: tuple[str, ...] = opened.classes
        self._preprocess = opened.preprocess
        self._device = pick_device()
        self._model = build_with_weights(opened.weights).to(self._device)

    def __call__(self, image: ImageInput) -> Prediction:
        """Raises UnreadableImage."""
        return self._answers([self._read(image)])[0]

    def answers(self, images: Sequence[ImageInput]) -> Iterator[Prediction | UnreadableImage]:
        """One for each image, in order; a file that can't be read is answered with the reason."""
        for start in range(0, len(images), BATCH):
            read = [self._read_or_reason(image) for image in images[start : start + BATCH]]
            predictions = iter(self._answers([found for found in read if isinstance(found, Tensor)]))
            for found in read:
                yield next(predictions) if isinstance(found, Tensor) else found

    def _read_or_reason(self, image: ImageInput) -> UInt8[Tensor, "3 row column"] | UnreadableImage:
        try:
            return self._read(image)
        except UnreadableImage as error:
            return error

    def _read(self, image: ImageInput) -> UInt8[Tensor, "3 row column"]:
        if not isinstance(image, np.ndarray):
            image = read_image(image if isinstance(image, bytes) else Path(image))
        elif image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f"An array of {image.dtype} with the shape {image.shape} is no image: give uint8, from 0 to 255, "
                "with the shape (rows, columns, 3) for red, green and blue."
            )
        return self._preprocess.resized(image)

    @torch.inference_mode()
    def _answers(self, images: list[Tensor]) -> list[Prediction]:
        if not images:
            return []
        logits = self._model(self._preprocess.finished(torch.stack(images).to(self._device)))
        return [Prediction(self.classes, row) for row in logits.softmax(dim=1).numpy(force=True)]
