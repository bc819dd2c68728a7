"""Predicts labels with probabilities for images.

    predictor = Predictor("runs/first")
    predictor("cat.jpg").label            # "cat"
    predictor("cat.jpg").top(3)           # [("cat", 0.93), ("fox", 0.05), ("dog", 0.01)]
    predictor(["cat.jpg", array])         # a list of predictions

Axes:  row, column  pixels, at the image size of the model
       class        index into `Predictor.classes`
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import cast, overload

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mixlab.data.audio.spectrogram import read_excerpts
from mixlab.data.image_file import ReadableFile, UnreadableImage
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.evaluation.finite import require_finite
from mixlab.evaluation.novelty import novelty_detector_of
from mixlab.measure.machine import usable_cores
from mixlab.prediction.image_input import ImageInput, rgb_array, sound_file
from mixlab.report.progress import Log
from mixlab.speed.inference import Inference
from mixlab.speed.inference_plan import parse_speed
from mixlab.tasks.tasks import TASKS
from mixlab.weights.classifier import Classifier, load_classifier, require_classification
from mixlab.weights.load import Pretrained, load_pretrained
from mixlab.zoo.architecture import Model, embed_and_classify
from mixlab.zoo.class_names import CLASS_NAMES_NEED_TIMM

BATCH = 64

_FIRST_BATCH = 8
"""The first answers do not wait for the selection of a plan, nor for a large batch under the stock plan."""

_log = logging.getLogger("mixlab")


@dataclass(frozen=True, eq=False)
class Prediction:
    """The probability of each class, in [0, 1]; they sum to 1 if an image has one class.

    labels           the most probable class, or with several labels per image, those from their thresholds on, the most
                     probable first
    unlike_training  whether the image is unlike all training images, so that its label should not be trusted; None if
                     this is unknown, because the weights come without a `NoveltyDetector`
    excerpts         of a sound file, in order; `probabilities` are their mean, and a sound is unlike all training
                     sounds if most of its excerpts are
    """

    classes: tuple[str, ...]
    probabilities: Float[np.ndarray, " class"]
    labels: tuple[str, ...]
    unlike_training: bool | None = None
    excerpts: tuple["ExcerptPrediction", ...] = ()

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top(1)[0][0]

    def top(self, count: int) -> list[tuple[str, float]]:
        """The `count` most probable classes and their probabilities, descending; ties in the order of the classes."""
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[index], float(self.probabilities[index])) for index in best]


@dataclass(frozen=True, eq=False)
class ExcerptPrediction:
    """The prediction for an excerpt of a sound.

    start, end  seconds from the beginning of the sound
    """

    start: float
    end: float
    prediction: Prediction


class Predictor:
    """Predicts labels for images with a trained model.

    `source` is the folder of a run, any other source of weights that `load` accepts, or an exported model. `classes`
    has the name of each class, or "class 0", "class 1", ... if the names are unknown. Published models need timm for
    their class names; if it is not installed, a warning is logged. `device` is "cpu", "cuda", "cuda:1" or "mps"; None
    is the fastest one of this machine. `speed` is "auto" for the fastest execution on this machine if there are many
    images, "off" for eager execution in fp32. `novelty` is the detector of images that are unlike the training images,
    None for weights without one. `precision="int8"` runs the model in int8 on the CPU if it is faster than bf16 and at
    most 0.5 points less accurate on validation images; it needs the images of a run, or `data`, the name of a data set.
    In int8, `novelty` is None. `log` is called with a line about the selected execution.

    An image is a path, the bytes of an image file, a file opened in binary mode, a PIL image, or one of:

    - an array of uint8 with shape (rows, columns), (rows, columns, 1), (rows, columns, 3) or (rows, columns, 4)
    - a tensor with shape (1, rows, columns), (3, rows, columns) or (4, rows, columns), of uint8 or of floats in [0, 1]

    One channel is grey, three are RGB, and the fourth is alpha: transparent pixels are blended with white. Images have
    any size and are not normalised: the preprocessing of the model is applied to them.

    For a model of sounds, a file is a sound of any length. Its excerpts overlap by half, and their probabilities are
    averaged.

    Raises UserError if the weights can't be loaded, the model has no head, or the device is not available.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        device: str | torch.device | None = None,
        speed: str = "auto",
        precision: str = "auto",
        data: str | None = None,
        log: Log = _log.info,
    ):
        speed = parse_speed(speed)
        classifier = load_classifier(source)
        self.classes = class_labels(classifier, source)
        self.device = classifier.pick_device(device)
        self._is_exported = classifier.is_exported
        self._digest, self._preprocess = classifier.digest, classifier.image_preprocess
        self.task, self._fitted = TASKS[classifier.task], classifier.fitted
        if self.task.on_feature_maps:
            raise UserError(
                f"{source} is a {classifier.task} model, which predicts masks and no labels: use "
                "`mixlab predict --out FOLDER`, or mixlab.prediction.segmentation.MaskPredictor."
            )
        if precision == "int8":
            if speed == "off":
                raise UserError("--precision int8 is not possible with --speed off, which is fp32: remove one of them.")
            require_classification(classifier.task, source, "run in int8")
            from mixlab.prediction.int8 import int8_forward  # loads the readers of datasets

            self.novelty, self._inference, self.device = None, None, torch.device("cpu")
            self._forward, check = int8_forward(load_pretrained(source), source, data)
            log(f"int8: {check}.")
        elif precision == "auto":
            self.novelty = novelty_detector_of(source)
            model = classifier.network
            outputs = "logits" if self.novelty is None else "embeddings and logits"
            self._inference = Inference(
                model if self.novelty is None else _EmbedAndClassify(cast(Model, model)),
                self.device,
                speed="off" if classifier.is_exported else speed,
                key=lambda: {**classifier.key(), "outputs": outputs},
                log=log,
            )
            self._forward = self._inference
        else:
            raise UserError(f'--precision {precision} is not possible: give "auto" or "int8".')

    @overload
    def __call__(self, image: ImageInput) -> Prediction: ...

    @overload
    def __call__(self, image: list[ImageInput] | tuple[ImageInput, ...]) -> list[Prediction]: ...

    def __call__(self, image: ImageInput | list[ImageInput] | tuple[ImageInput, ...]) -> Prediction | list[Prediction]:
        """The prediction for one image, or those for a list of images.

        Raises UnreadableImage if a file can't be read, and UserError for anything that is not an image.
        """
        if isinstance(image, list | tuple):
            return [_require_readable(each) for each in self.predict(image)]
        sound = self._sound_file(image)
        return self.predict_batch([self.read(image)])[0] if sound is None else self._predict_sound(sound)

    def predict(self, images: Sequence[ImageInput]) -> Iterator[Prediction | UnreadableImage]:
        """Yields the prediction for each image, in order, or the error if an image can't be read.

        Raises UserError for anything that is not an image.
        """
        if self.reads_sounds:
            yield from map(self._predict_or_error, images)
            return
        with ThreadPoolExecutor(usable_cores()) as threads:
            for start, end in pairwise([0, *range(_FIRST_BATCH, len(images), BATCH), len(images)]):
                inputs = self._read_all(images[start:end], threads)
                readable = [image for image in inputs if isinstance(image, Tensor)]
                predictions = iter(self.predict_batch(readable, remaining=len(images) - start if start else 0))
                for image in inputs:
                    yield next(predictions) if isinstance(image, Tensor) else image

    def _read_all(
        self, images: Sequence[ImageInput], threads: ThreadPoolExecutor
    ) -> list[UInt8[Tensor, "3 row column"] | UnreadableImage]:
        """Decoders release Python's lock. Images of Pillow and open files have one thread: they may share a file."""
        are_separate = all(isinstance(image, str | Path | bytes) for image in images)
        return list((threads.map if are_separate else map)(self._read_or_error, images))

    def _read_or_error(self, image: ImageInput) -> UInt8[Tensor, "3 row column"] | UnreadableImage:
        try:
            return self.read(image)
        except UnreadableImage as error:
            return error

    @property
    def preprocess(self) -> Preprocess:
        """How files become inputs of the network."""
        return self._preprocess

    @property
    def reads_sounds(self) -> bool:
        """Whether the files of the model are sounds."""
        return self._preprocess.spectrogram is not None

    def _sound_file(self, image: ImageInput) -> ReadableFile | bytes | None:
        return sound_file(image) if self.reads_sounds else None

    def _predict_or_error(self, image: ImageInput) -> Prediction | UnreadableImage:
        try:
            return self(image)
        except UnreadableImage as error:
            return error

    def _predict_sound(self, file: ReadableFile | bytes) -> Prediction:
        assert self._preprocess.spectrogram is not None
        excerpts = read_excerpts(file, self._preprocess.spectrogram)
        parts: list[ExcerptPrediction] = []
        while batch := list(islice(excerpts, BATCH)):
            predictions = self.predict_batch([self._preprocess.resized(excerpt.image) for excerpt in batch])
            parts += [
                ExcerptPrediction(excerpt.start, excerpt.end, one)
                for excerpt, one in zip(batch, predictions, strict=True)
            ]
        flags = [bool(part.prediction.unlike_training) for part in parts]
        mean = np.mean([part.prediction.probabilities for part in parts], axis=0)
        unlike = None if self.novelty is None else sum(flags) > len(flags) / 2
        return replace(self._prediction(mean, unlike_training=unlike), excerpts=tuple(parts))

    @property
    def digest(self) -> str:
        """SHA-256 of the names and values of all weights, in hexadecimal."""
        return self._digest()

    @property
    def torch_threads(self) -> int:
        """The number of PyTorch's threads that is best for a thread that calls `predict_batch` often.

        1 if another runtime computes: between two batches, the threads of PyTorch wait actively for some milliseconds,
        and occupy the cores that the threads of the runtime need.
        """
        in_torch = self._inference is not None and self._inference.plan.execution != "openvino"
        return torch.get_num_threads() if in_torch and not self._is_exported else 1

    def read(self, image: ImageInput, max_pixels: int | None = None) -> UInt8[Tensor, "3 row column"]:
        """An image, resized and cropped for `predict_batch`. Can be called from several threads.

        max_pixels  a file with more pixels is rejected by its header

        Raises UnreadableImage if a file can't be read, and UserError for anything that is not an image.
        """
        return self._preprocess.resized(rgb_array(image, self._preprocess.decoding, max_pixels))

    @torch.inference_mode()
    def predict_batch(self, images: list[UInt8[Tensor, "3 row column"]], remaining: int = 0) -> list[Prediction]:
        """The predictions for images that `read` returned.

        remaining  images of the job from here on; if they take long, the fastest plan of this machine is selected first

        Raises UserError if logits are not finite.
        """
        if not images:
            return []
        inputs = self._preprocess.finished(torch.stack(images).to(self.device))
        if remaining and self._inference:
            self._inference.plan_for(inputs, remaining)
        *embeddings, logits = self._forward(inputs)
        require_finite(logits)
        probabilities = self.task.probabilities(logits).numpy(force=True)
        if self.novelty is None:
            return [self._prediction(row) for row in probabilities]
        flags = self.novelty.flags(embeddings[0].numpy(force=True)).tolist()
        return [self._prediction(row, unlike_training=flag) for row, flag in zip(probabilities, flags, strict=True)]

    def _prediction(
        self, probabilities: Float[np.ndarray, " class"], *, unlike_training: bool | None = None
    ) -> Prediction:
        labels = tuple(self.classes[index] for index in self.task.predicted(probabilities, self._fitted))
        return Prediction(self.classes, probabilities, labels, unlike_training)


def _require_readable(result: Prediction | UnreadableImage) -> Prediction:
    if isinstance(result, UnreadableImage):
        raise result
    return result


def class_labels(model: Classifier | Pretrained, source: str | Path) -> tuple[str, ...]:
    """The name of each class, or "class 0", "class 1", ... if the names are unknown.

    If they are unknown because timm is not installed, a warning is logged. Raises UserError if there is no head.
    """
    if not model.classes:
        raise UserError(f"{source} has no head, so it can't predict labels: give a model with classes.")
    if model.names_need_timm:
        _log.warning(CLASS_NAMES_NEED_TIMM)
    if model.has_class_names:
        return model.classes
    return tuple(f"class {index}" for index in model.classes)


class _EmbedAndClassify(nn.Module):
    """The embeddings and the logits of images."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return embed_and_classify(self.model, images)
