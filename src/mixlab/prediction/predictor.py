"""Predicts labels with probabilities for images.

    predictor = Predictor("runs/first")
    predictor("cat.jpg").label            # "cat"
    predictor("cat.jpg").top(3)           # [("cat", 0.93), ("fox", 0.05), ("dog", 0.01)]

Axes:  image        in the batch
       row, column  pixels, at the image size of the model
       class        index into `Predictor.classes`
"""

import logging
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
from mixlab.zoo.class_names import CLASS_NAMES_NEED_TIMM

ImageInput = str | Path | bytes | np.ndarray
"""An image file, the content of one, or a uint8 array of shape (row, column, 3) in RGB."""

BATCH = 64

_log = logging.getLogger("mixlab")


@dataclass(frozen=True, eq=False)
class Prediction:
    """The probability of each class, in [0, 1]; they sum to 1."""

    classes: tuple[str, ...]
    probabilities: Float[np.ndarray, " class"]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top(1)[0][0]

    def top(self, count: int) -> list[tuple[str, float]]:
        """The `count` most probable classes and their probabilities, descending; ties in the order of the classes."""
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[index], float(self.probabilities[index])) for index in best]


class Predictor:
    """Predicts labels for images with a trained model.

    `source` is the folder of a run, or any other source of weights that `load` accepts. `classes` has the name of each
    class, or "class 0", "class 1", ... if the names are unknown. Published models need timm for their class names; if
    it is not installed, a warning is logged.

    Raises UserError if the weights can't be loaded, or the model has no head.
    """

    def __init__(self, source: str | Path):
        pretrained = load_pretrained(source)
        if not pretrained.classes:
            raise UserError(f"{source} has no head, so it can't predict labels: give a model with classes.")
        if pretrained.names_need_timm:
            _log.warning(CLASS_NAMES_NEED_TIMM)
        self.classes: tuple[str, ...] = (
            pretrained.classes
            if pretrained.has_class_names
            else tuple(f"class {index}" for index in pretrained.classes)
        )
        self._preprocess = pretrained.preprocess
        self._device = pick_device()
        self._model = build_with_weights(pretrained.weights).to(self._device)

    def __call__(self, image: ImageInput) -> Prediction:
        """The prediction for one image. Raises UnreadableImage if the file can't be read."""
        return self._predict_batch([self._read(image)])[0]

    def predict(self, images: Sequence[ImageInput]) -> Iterator[Prediction | UnreadableImage]:
        """Yields the prediction for each image, in order, or the error if an image can't be read.

        Raises UserError if an array is not a uint8 image.
        """
        for start in range(0, len(images), BATCH):
            inputs = [self._read_or_error(image) for image in images[start : start + BATCH]]
            predictions = iter(self._predict_batch([image for image in inputs if isinstance(image, Tensor)]))
            for image in inputs:
                yield next(predictions) if isinstance(image, Tensor) else image

    def _read_or_error(self, image: ImageInput) -> UInt8[Tensor, "3 row column"] | UnreadableImage:
        try:
            return self._read(image)
        except UnreadableImage as error:
            return error

    def _read(self, image: ImageInput) -> UInt8[Tensor, "3 row column"]:
        if not isinstance(image, np.ndarray):
            image = read_image(image if isinstance(image, bytes) else Path(image), self._preprocess.value_range)
        elif image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f"An array of {image.dtype} with shape {image.shape} is not an image: give uint8 values from 0 to 255 "
                "with shape (rows, columns, 3), in RGB."
            )
        return self._preprocess.resized(image)

    @torch.inference_mode()
    def _predict_batch(self, images: list[Tensor]) -> list[Prediction]:
        if not images:
            return []
        logits = self._model(self._preprocess.finished(torch.stack(images).to(self._device)))
        return [Prediction(self.classes, row) for row in logits.softmax(dim=1).numpy(force=True)]
