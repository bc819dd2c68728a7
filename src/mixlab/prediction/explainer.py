"""Explains labels: which places of an image speak for a label, and which against it.

    explainer = Explainer("runs/first")
    explanation = explainer("cat.jpg")
    explanation.label, explanation.probability              # ("cat", 0.93)
    explanation.maps["occlusion"].most_important_box        # (left, upper, right, lower) in pixels
    explanation.maps["occlusion"].pixels()                  # float64 (row, column)

Axes:  row, column  pixels, at the image size of the model
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mixlab.data.image_file import UnreadableImage
from mixlab.errors import UserError, did_you_mean
from mixlab.evaluation.finite import require_finite
from mixlab.prediction.grad_cam import SplitModel, grad_cam_map, split_at_map
from mixlab.prediction.image_input import ImageInput, rgb_array
from mixlab.prediction.importance_map import ImportanceMap, Method
from mixlab.prediction.occlusion import (
    BATCH,
    Cover,
    cover_colour,
    default_window,
    log_odds,
    occlusion_map,
    place_windows,
)
from mixlab.prediction.patches import patch_size
from mixlab.prediction.predictor import Prediction, class_labels
from mixlab.report.progress import Log
from mixlab.report.text import join_words
from mixlab.speed.inference import Inference
from mixlab.speed.inference_plan import InferencePlan, parse_speed
from mixlab.weights.classifier import load_classifier, require_classification
from mixlab.zoo.architecture import Model

_log = logging.getLogger("mixlab")


@dataclass(frozen=True, eq=False)
class Explanation:
    """An image with the importance of its places for a label.

    prediction  the probability of each class
    label       the explained class
    log_odds    of the label, log(p / (1 - p)) with its probability p, in nats
    image       as the model receives it: resized and cropped, before normalisation
    maps        by method, "occlusion" or "grad-cam"
    """

    prediction: Prediction
    label: str
    log_odds: float
    image: UInt8[np.ndarray, "row column 3"]
    maps: Mapping[Method, ImportanceMap]

    @property
    def probability(self) -> float:
        """The probability of the explained class, in [0, 1]."""
        return _probability(self.log_odds)

    @property
    def covered_probability(self) -> float | None:
        """The probability of the label if the most important box of the occlusion is covered; None without it."""
        if "occlusion" not in self.maps:
            return None
        return _probability(self.log_odds - self.maps["occlusion"].largest)


class Explainer:
    """Explains the labels of a trained model by occlusion or Grad-CAM.

    source   the folder of a run, or any other model that `Predictor` accepts
    methods  "occlusion" for every model: the drop in the log-odds of the label, in nats, if a window is covered with
             a neutral colour. "grad-cam" for models with feature maps: the contribution of each place of
             the feature map to the logit; it needs captum.
    window   the side of a window in pixels; None: the patch of the model, or as many patches that 16 windows or fewer
             are in a row
    stride   pixels from one window to the next; None: the side of a window
    cover    the colour of a covered window: "model", the mean in the preprocessing; "image", the mean of the image, for
             images that are dark or bright; None: "model"
    stage    the stage of a DaViT whose map Grad-CAM uses, from 1; None: the last one
    device   as for `Predictor`
    speed    "auto" for the fastest execution in fp32 on this machine if there are many windows, "off" for eager
             execution. Grad-CAM is always eager.
    log      called with a line about the selected execution

    An image is anything that `Predictor` accepts. Boxes and maps are in pixels of the image as the model receives it,
    which is `Explanation.image`.

    Raises UserError if the model can't be loaded, it has fewer than two classes, a setting is out of range, or Grad-CAM
    is not possible.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        methods: Sequence[str] = ("occlusion",),
        window: int | None = None,
        stride: int | None = None,
        cover: str | None = None,
        stage: int | None = None,
        device: str | torch.device | None = None,
        speed: str = "auto",
        log: Log = _log.info,
    ):
        self.methods = _parse_methods(methods)
        _require_effect(self.methods, "occlusion", {"--window": window, "--stride": stride, "--cover": cover})
        _require_effect(self.methods, "grad-cam", {"--stage": stage})
        self.cover: Cover = _parse_cover(cover or "model")
        classifier = load_classifier(source)
        require_classification(classifier.task, source, "be explained")
        self.device = classifier.pick_device(device)
        self.classes = class_labels(classifier, source)
        if len(self.classes) == 1:
            raise UserError(f"{source} has one class, which is always its answer: give a model with two or more.")
        self.preprocess, self._stage = classifier.image_preprocess, stage
        self.is_exported = classifier.is_exported
        if "grad-cam" in self.methods and self.is_exported:
            raise UserError(
                f"{source} is an exported model, which has no gradients: use --method occlusion, or give the run or "
                "the weights that it was exported from."
            )
        if "grad-cam" in self.methods and self.preprocess.transform is not None:
            raise UserError(
                f"{source} permutes the pixels of its images, so that places of its feature maps are not places of the "
                "image: use --method occlusion."
            )
        self.model = cast(Model, classifier.network)
        if classifier.exported:
            patch, mean = classifier.exported.patch_size, classifier.exported.mean
        else:
            patch, mean = patch_size(self.model), self.preprocess.mean
        shift, scale = torch.tensor(self.preprocess.mean), torch.tensor(self.preprocess.std)
        self._mean = ((torch.tensor(mean) - shift) / scale)[:, None, None].to(self.device)
        side = default_window(self.preprocess.image_size, patch) if window is None else window
        self.windows = place_windows(self.preprocess.image_size, side, side if stride is None else stride)
        self._inference = Inference(
            self.model,
            self.device,
            speed="off" if self.is_exported else parse_speed(speed),
            precisions=("fp32",),
            key=lambda: {**classifier.key(), "outputs": "logits"},
            log=log,
        )
        self._split = self._split_model(self.model)

    @property
    def image_size(self) -> tuple[int, int]:
        """(rows, columns) of the images as the model receives them, in pixels."""
        return self.preprocess.image_size

    @property
    def plan(self) -> InferencePlan | None:
        """How the model runs on the versions of an image; None for an exported model."""
        return None if self.is_exported else self._inference.plan

    def __call__(self, image: ImageInput, label: str | None = None) -> Explanation:
        """Explains `label`, or the most probable class.

        Raises UnreadableImage if a file can't be read, and UserError for anything that is not an image, or an unknown
        label.
        """
        index = self._index(label)
        return self._explain(self._read(image), index, remaining=1)

    def explain(
        self, images: Sequence[ImageInput], label: str | None = None
    ) -> Iterator[Explanation | UnreadableImage]:
        """Yields the explanation of each image, in order, or the error if an image can't be read.

        Raises UserError for anything that is not an image, or an unknown label.
        """
        index = self._index(label)
        for done, image in enumerate(images):
            try:
                resized = self._read(image)
            except UnreadableImage as error:
                yield error
            else:
                yield self._explain(resized, index, remaining=len(images) - done)

    def maps_with_weights_of(self, model: Model, explanation: Explanation) -> dict[Method, ImportanceMap]:
        """The maps of another model for the same image and label.

        model  of the same architecture, in evaluation mode, with other weights; it is moved to the device
        """
        inference = Inference(model, self.device)
        image = self.preprocess.normalised(_channels_first(explanation.image).to(self.device))
        logits = self._logits(inference, image)
        return self._maps(self._split_model(model), image, logits, self.classes.index(explanation.label))

    def _read(self, image: ImageInput) -> UInt8[Tensor, "3 row column"]:
        return self.preprocess.resized(rgb_array(image, self.preprocess.decoding))

    def _index(self, label: str | None) -> int | None:
        if label is None:
            return None
        if label not in self.classes:
            raise UserError(
                f'The model has no class "{label}": its classes are {join_words(self.classes, most=20)}. '
                f"{did_you_mean(label, self.classes)}".rstrip()
            )
        return self.classes.index(label)

    def _split_model(self, model: Model) -> SplitModel | None:
        return split_at_map(model, self._stage) if "grad-cam" in self.methods else None

    def _explain(self, resized: UInt8[Tensor, "3 row column"], index: int | None, remaining: int) -> Explanation:
        """`index`: the class to explain, None for the most probable one; `remaining`: images of the job."""
        image = self.preprocess.normalised(resized.to(self.device))
        if "occlusion" in self.methods:
            self._inference.plan_for(self._versions(image, 0, BATCH), remaining * (len(self.windows) + 1))
        logits = self._logits(self._inference, image)
        label = int(logits[0].argmax()) if index is None else index
        probabilities = logits[0].softmax(dim=0).numpy()
        return Explanation(
            Prediction(self.classes, probabilities, (self.classes[probabilities.argmax()],)),
            self.classes[label],
            float(log_odds(logits[:1], label)),
            resized.permute(1, 2, 0).numpy(),
            self._maps(self._split, image, logits, label),
        )

    def _logits(self, inference: Inference, image: Float[Tensor, "3 row column"]) -> Float[Tensor, "version class"]:
        """The logits of the image, and of its occluded versions if they are needed, on the CPU."""
        versions = 1 + ("occlusion" in self.methods) * len(self.windows)
        starts = range(0, versions, BATCH)
        logits = torch.cat(
            [inference(self._versions(image, start, min(start + BATCH, versions)))[0].cpu() for start in starts]
        )
        require_finite(logits)
        return logits

    def _versions(
        self, image: Float[Tensor, "3 row column"], start: int, end: int
    ) -> Float[Tensor, "version 3 row column"]:
        colour = cover_colour(image, self.cover, self._mean)
        versions = self.windows.covered(image, colour, start, min(end, len(self.windows) + 1))
        return versions if self.preprocess.transform is None else self.preprocess.transform(versions)

    def _maps(
        self,
        split: SplitModel | None,
        image: Float[Tensor, "3 row column"],
        logits: Float[Tensor, "version class"],
        label: int,
    ) -> dict[Method, ImportanceMap]:
        maps: dict[Method, ImportanceMap] = {}
        for method in self.methods:
            if method == "occlusion":
                maps[method] = occlusion_map(logits, label, self.windows)
            elif split is not None:
                maps[method] = grad_cam_map(split, image[None], label)
        return maps


def _parse_methods(methods: Sequence[str]) -> tuple[Method, ...]:
    for method in methods:
        if method not in get_args(Method):
            raise UserError(
                f'There is no method "{method}": give {" or ".join(get_args(Method))}, or both with a comma. '
                f"{did_you_mean(method, get_args(Method))}".rstrip()
            )
    return tuple(method for method in get_args(Method) if method in methods)


def _parse_cover(text: str) -> Cover:
    for cover in get_args(Cover):
        if text == cover:
            return cover
    raise UserError(f'--cover {text} is not possible: give "model" or "image".')


def _require_effect(methods: Sequence[Method], method: Method, options: Mapping[str, int | str | None]) -> None:
    """Raises UserError if an option of `method` is given without it."""
    for name, value in options.items():
        if value is not None and method not in methods:
            raise UserError(f"{name} has no effect without --method {method}: leave it out.")


def _channels_first(pixels: UInt8[np.ndarray, "row column 3"]) -> UInt8[Tensor, "3 row column"]:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _probability(log_odds: float) -> float:
    return 1 / (1 + exp(-log_odds)) if log_odds >= 0 else exp(log_odds) / (1 + exp(log_odds))
