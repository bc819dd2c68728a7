"""A model that is ready to classify images, from weights or from an exported model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mixlab.data.any_preprocess import AnyPreprocess, require_images
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.files import translate_access_errors
from mixlab.measure.machine import pick_device
from mixlab.weights.exported import ExportedModel, is_exported, read_exported
from mixlab.weights.load import build_with_weights, load_pretrained


@dataclass(frozen=True)
class Classifier:
    """A model with everything that its answers need.

    network          maps preprocessed images to logits, in evaluation mode; a `zoo.Model` unless it is exported
    classes          the names of the classes, or their indices if `has_class_names` is False
    names_need_timm  the names are unknown because timm is not installed
    key              returns what determines the logits, as JSON-serializable values
    digest           returns the SHA-256 of the weights, or of the exported file, in hexadecimal
    exported         the exported model, whose network runs in another runtime, on the CPU only; None for weights
    task, fitted     as in `mixlab.weights.load.Pretrained`
    """

    network: nn.Module
    classes: tuple[str, ...]
    preprocess: AnyPreprocess
    has_class_names: bool
    names_need_timm: bool
    key: Callable[[], Mapping[str, Any]]
    digest: Callable[[], str]
    exported: ExportedModel | None
    task: str = "classification"
    fitted: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image_preprocess(self) -> Preprocess:
        """`preprocess` of a model for images. Raises UserError for a model that reads texts."""
        return require_images(self.preprocess)

    @property
    def is_exported(self) -> bool:
        return self.exported is not None

    def pick_device(self, name: str | torch.device | None) -> torch.device:
        """The device for the model, as `mixlab.measure.machine.pick_device`. Raises UserError if it can't run there."""
        if not self.is_exported:
            return pick_device(name)
        if name is not None and torch.device(name).type != "cpu":
            raise UserError(f"An exported model runs on the CPU in mixlab, not on {name}: leave out --device.")
        return torch.device("cpu")


def require_classification(task: str, source: str | Path, ability: str) -> None:
    """Raises UserError if the task of a model is another one than one class per image.

    ability  what such a model can't do, to follow "can't", such as "be exported"
    """
    if task != "classification":
        raise UserError(
            f"{source} is a {task} model, which can't {ability}: `mixlab predict` and `mixlab evaluate` run it; "
            "give a model with one class per image."
        )


def require_no_sounds(preprocess: Preprocess, source: str | Path, ability: str) -> None:
    """Raises UserError if a model is for sounds.

    ability  what such a model can't do, to follow "can't", such as "be exported"
    """
    if preprocess.spectrogram is not None:
        raise UserError(
            f"{source} is a model of sounds, which can't {ability}: `mixlab predict` and `mixlab evaluate` run it; "
            "give a model of images."
        )


@translate_access_errors()
def load_classifier(source: str | Path, fields: Mapping[str, Any] | None = None) -> Classifier:
    """Load a model.

    source  as for `mixlab.load`, or an exported model
    fields  config fields that cannot be inferred from weights

    Raises UserError if there is no such model, or it can't be read.
    """
    if is_exported(source):
        exported = read_exported(source)
        return Classifier(
            exported.network,
            exported.classes,
            exported.preprocess,
            exported.has_class_names,
            names_need_timm=False,
            key=lambda: {"exported": exported.digest},
            digest=lambda: exported.digest,
            exported=exported,
        )
    pretrained = load_pretrained(source, **(fields or {}))
    return Classifier(
        build_with_weights(pretrained.weights),
        pretrained.classes,
        pretrained.preprocess,
        pretrained.has_class_names,
        pretrained.names_need_timm,
        key=lambda: pretrained.weights.key,
        digest=lambda: pretrained.source_digest,
        exported=None,
        task=pretrained.task,
        fitted=pretrained.fitted,
    )
