"""Converts weights to the format of another program, and reports what the format can't store.

A -> B -> A restores every tensor bit for bit. To find the config fields that B does not store, the config of the model
is compared with the config that a reader of the file in B would infer. The effect is measured on the logits of real
images.
"""

import logging
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mixlab.data.preprocess import Preprocess
from mixlab.data.readers.digits import open_digits
from mixlab.errors import UserError
from mixlab.files import atomic_folder
from mixlab.models.contract import height_and_width
from mixlab.weights.adapt import Weights
from mixlab.weights.config_inference import config_from_shapes, default_fields
from mixlab.weights.formats import Format, formats
from mixlab.weights.load import Pretrained, build_with_weights
from mixlab.weights.storage.write import require_suffix, write_model_folder, write_tensors
from mixlab.weights.strict import tensor_shapes
from mixlab.weights.timm_folder import (
    TIMM_FIELDS,
    TimmArchitecture,
    timm_architecture,
    timm_format,
    write_timm_folder,
)
from mixlab.zoo.architecture import Model
from mixlab.zoo.class_names import CLASS_NAMES_NEED_TIMM

_log = logging.getLogger("mixlab")

_FAMILIES = ("mixer", "convmixer", "davit")

TARGETS: Mapping[str, Mapping[str, str]] = {
    "google": {"mixer": "google"},
    "big_vision": {"mixer": "google"},
    "convmixer": {"convmixer": "convmixer"},
    "davit": {"davit": "davit"},
    **{to: {family: f"{to}_{family}" for family in _FAMILIES} for to in ("timm", "mmpretrain")},
    "mixlab": {},
}
"""The table of formats.toml by target and family. A folder of mixlab stores every family, without renaming."""

_IMAGES = 16
_NO_DEFAULT = ("heads", "image_size")  # the default of the config is not a default for files
_IGNORED_FIELDS = {  # used only in training, or without effect on the model
    "mixer": ("stochastic_depth",),
    "convmixer": ("image_size",),
    "davit": ("stochastic_depth", "image_size"),
}


@dataclass(frozen=True)
class LostFields:
    """The config fields that a written file does not store.

    `fields` maps each name to the value of the model and the value that a reader assumes (None: it assumes none).
    `logit_difference` is the largest change of a logit that this causes, relative to the largest logit; None if a field
    has no default, so a reader must set it.
    """

    fields: Mapping[str, tuple[Any, Any]]
    logit_difference: float | None

    def __str__(self) -> str:
        listed = ", ".join(
            f"{name}={value!r} (read as {assumed!r})" if assumed is not None else f"{name}={value!r} (must be set)"
            for name, (value, assumed) in self.fields.items()
        )
        if self.logit_difference is None:
            return listed
        return (
            f"{listed}; this changes the logits of {_IMAGES} handwritten digits by up to {self.logit_difference:.2g} "
            "times the largest logit"
        )


@dataclass(frozen=True)
class Conversion:
    """A conversion that is checked but not written yet.

    `to` is a key of `TARGETS`, and `out` the file or folder to write. Raises UserError if the format can't store the
    model, or `out` has the wrong suffix.
    """

    pretrained: Pretrained
    to: str
    out: Path

    def __post_init__(self) -> None:
        if self.to == "mixlab":
            return
        weights = self.pretrained.weights
        try:
            self.format.to_file_tensors(weights.tensors, weights.config)
        except KeyError as error:
            raise UserError(
                f"The {self.to} format has no name for {error.args[0]}: use --to davit or --to mixlab, which do."
            ) from error
        if self.timm is None:
            require_suffix(self.out, numpy=self.format.layout == "flax")

    @cached_property
    def format(self) -> Format:
        """The format of the written tensors. Raises UserError if the target does not support the family."""
        family = self.pretrained.weights.family
        if family not in TARGETS[self.to]:
            supported = ", ".join(to for to, families in TARGETS.items() if family in families or to == "mixlab")
            raise UserError(f"The {self.to} format does not support a {family} model: give --to one of {supported}.")
        if self.to == "timm":
            return timm_format(self.pretrained.weights)
        return formats()[TARGETS[self.to][family]]

    @cached_property
    def timm(self) -> TimmArchitecture | None:
        """How timm builds the model if a folder for timm is written; None for a file, or if timm can't build it."""
        return timm_architecture(self.pretrained.weights) if self.to == "timm" and not self.out.suffix else None

    @cached_property
    def lost(self) -> LostFields | None:
        """The config fields that the written file does not store; None if it stores all of them."""
        if self.to == "mixlab":
            return None
        weights = self.pretrained.weights
        model = build_with_weights(weights)
        shapes = tensor_shapes(weights.tensors)
        inferred = config_from_shapes(weights.family, shapes)
        read = {**default_fields(weights.family, inferred, shapes), **inferred, **self.format.implied}
        written = TIMM_FIELDS if self.timm else ()
        lost = {}
        for field in fields(model.config):
            value = getattr(model.config, field.name)
            has_default = field.default is not MISSING and field.name not in _NO_DEFAULT
            assumed = read.get(field.name, field.default if has_default else None)
            if value != assumed and field.name not in (*written, *_IGNORED_FIELDS[weights.family]):
                lost[field.name] = (value, assumed)
        if not lost:
            return None
        if any(assumed is None for _, assumed in lost.values()):
            return LostFields(lost, None)
        as_read = asdict(model.config) | {name: assumed for name, (_, assumed) in lost.items()}
        return LostFields(
            lost, _logit_difference(model, build_with_weights(Weights(weights.family, as_read, weights.tensors)))
        )

    def write(self) -> None:
        """Writes the file or folder. Raises UserError if the disk is full or the path can't be written."""
        weights, classes, preprocess = (
            self.pretrained.weights,
            self.pretrained.classes,
            self.pretrained.image_preprocess,
        )
        if self.pretrained.names_need_timm and (self.to == "mixlab" or self.timm):  # folders have class names
            _log.warning(CLASS_NAMES_NEED_TIMM)
        if self.to == "mixlab":
            with atomic_folder(self.out) as temporary:
                write_model_folder(temporary, weights, classes, preprocess)
            return
        if self.timm:
            with atomic_folder(self.out) as temporary:
                write_timm_folder(temporary, self.timm, weights, classes, preprocess)
            return
        prefix = "params/" if self.to == "big_vision" else ""
        tensors = self.format.to_file_tensors(weights.tensors, weights.config)
        write_tensors(self.out, {prefix + name: tensor for name, tensor in tensors.items()})


@torch.inference_mode()
def _logit_difference(model: Model, as_read: Model) -> float:
    """The largest difference of a logit of handwritten digits, relative to the largest logit."""
    digits = open_digits().splits["test"]
    preprocess = Preprocess(height_and_width(model.config.image_size))
    images = torch.stack([preprocess(digits.image(index)) for index in range(_IMAGES)])
    images = images[:, :1].expand(-1, model.config.image_channels, -1, -1)
    logits = model(images)
    return ((as_read(images) - logits).abs().max() / logits.abs().max()).item()
