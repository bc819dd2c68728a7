"""A model into another program's format, with what that format can't say.

A -> B -> A gives every tensor back bit by bit. What B does not record is found by asking what a reader of B's file
would take, and measured as the difference that this makes to the logits of real images.
"""

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
from mixlab.weights.timm_folder import TIMM_FIELDS, timm_name, write_timm_folder
from mixlab.zoo.architecture import Model

_FAMILIES = ("mixer", "convmixer", "davit")

TARGETS: Mapping[str, Mapping[str, str]] = {
    "google": {"mixer": "google"},
    "big_vision": {"mixer": "google"},
    "convmixer": {"convmixer": "convmixer"},
    "davit": {"davit": "davit"},
    **{to: {family: f"{to}_{family}" for family in _FAMILIES} for to in ("timm", "mmpretrain")},
    "mixlab": {},
}
"""The table of formats.toml for each family that a target holds; our own folder holds every one, under our names."""

_IMAGES = 16
_INFERRED = ("heads", "image_size")  # fields whose default says nothing of a file
_NOTHING_LOST = {  # of training alone, and a size that the model does not depend on
    "mixer": ("stochastic_depth",),
    "convmixer": ("image_size",),
    "davit": ("stochastic_depth", "image_size"),
}


@dataclass(frozen=True)
class LostFields:
    """What the written file does not say: field by field, the model's value and what a reader takes (None: nothing)."""

    fields: Mapping[str, tuple[Any, Any]]
    logit_difference: float | None
    """The largest, in units of the largest logit; None where a reader can take nothing and has to be told."""

    def __str__(self) -> str:
        said = ", ".join(
            f"{name}={had!r} (read as {read!r})" if read is not None else f"{name}={had!r} (has to be given)"
            for name, (had, read) in self.fields.items()
        )
        if self.logit_difference is None:
            return said
        moved = f"the logits of {_IMAGES} handwritten digits move by {self.logit_difference:.2g} of the largest"
        return f"{said}; read so, {moved}"


@dataclass(frozen=True)
class Conversion:
    """What is about to be written, and what that loses. Raises UserError where it can't be."""

    opened: Pretrained
    to: str
    out: Path

    def __post_init__(self) -> None:
        if self.to == "mixlab":
            return
        for name in self.opened.weights.tensors:
            try:
                self.format.theirs(name, count_numbers(self.opened.weights))
            except KeyError as error:
                raise UserError(
                    f"{self.to}'s names have no place for {name}: give --to davit or --to mixlab, which have one."
                ) from error
        if self.timm_name is None:
            require_suffix(self.out, numpy=self.format.layout == "flax")

    @cached_property
    def format(self) -> Format:
        family = self.opened.weights.family
        if family not in TARGETS[self.to]:
            able = ", ".join(to for to, families in TARGETS.items() if family in families or to == "mixlab")
            raise UserError(f"{self.to}'s format holds no {family}: give --to one of {able}.")
        if self.to == "timm" and family == "davit":
            return formats()[_timm_davit(self.opened.weights.config)]
        return formats()[TARGETS[self.to][family]]

    @cached_property
    def timm_name(self) -> str | None:
        """Of a folder for timm; None for a file, as where timm registers no such size."""
        return timm_name(self.opened.weights) if self.to == "timm" and not self.out.suffix else None

    @cached_property
    def lost(self) -> LostFields | None:
        """What a reader of the written file would take otherwise."""
        if self.to == "mixlab":
            return None
        weights = self.opened.weights
        model = build_with_weights(weights)
        shapes = tensor_shapes(weights.tensors)
        inferred = config_from_shapes(weights.family, shapes)
        read = {**default_fields(weights.family, inferred, shapes), **inferred, **self.format.implied}
        written = TIMM_FIELDS if self.timm_name else ()
        lost = {}
        for field in fields(model.config):
            had = getattr(model.config, field.name)
            taken = read.get(field.name, None if field.default is MISSING or field.name in _INFERRED else field.default)
            if had != taken and field.name not in (*written, *_NOTHING_LOST[weights.family]):
                lost[field.name] = (had, taken)
        if not lost:
            return None
        if any(taken is None for _, taken in lost.values()):
            return LostFields(lost, None)
        as_read = asdict(model.config) | {name: taken for name, (_, taken) in lost.items()}
        return LostFields(
            lost, _logit_difference(model, build_with_weights(Weights(weights.family, as_read, weights.tensors)))
        )

    def write(self) -> None:
        weights, classes, preprocess = self.opened.weights, self.opened.classes, self.opened.preprocess
        if self.to == "mixlab":
            with atomic_folder(self.out) as temporary:
                write_model_folder(temporary, weights, classes, preprocess)
            return
        prefix = "params/" if self.to == "big_vision" else ""
        tensors = {
            prefix + self.format.theirs(ours, count_numbers(weights)): self.format.into_file(tensor)
            for ours, tensor in weights.tensors.items()
        }
        if self.timm_name:
            with atomic_folder(self.out) as temporary:
                write_timm_folder(temporary, self.timm_name, weights, tensors, classes, preprocess)
        else:
            write_tensors(self.out, tensors)


def _timm_davit(config: Mapping[str, Any]) -> str:
    """timm has other names for what another class of its would compute."""
    if config["channel_attention"] == "florence2":
        return "timm_florence2"
    return "timm_davit_norm_first" if config["head_order"] == "norm-pool" else "timm_davit"


def count_numbers(weights: Weights) -> dict[str, int]:
    """What some formats' names depend on."""
    return {"depth": weights.config.get("depth", 0), "stages": len(weights.config.get("depths", ()))}


@torch.inference_mode()
def _logit_difference(model: Model, read: Model) -> float:
    digits = open_digits().splits["test"]
    preprocess = Preprocess(height_and_width(model.config.image_size))
    images = torch.stack([preprocess(digits.image(index)) for index in range(_IMAGES)])
    images = images[:, :1].expand(-1, model.config.image_channels, -1, -1)
    logits = model(images)
    return ((read(images) - logits).abs().max() / logits.abs().max()).item()
