"""Inspects a weights file: format, architecture and tensor statistics, with one tensor in memory at a time."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixlab.data.preprocess import Preprocess
from mixlab.data.readers.digits import open_digits
from mixlab.errors import UserError
from mixlab.report.table import Column, Table
from mixlab.weights.load import identify_weights
from mixlab.weights.source import Source
from mixlab.weights.storage.weights_file import WeightsFile, open_weights_file
from mixlab.zoo.architecture import FAMILIES, Model

_ALL_ZERO = "all zero"
UNTRAINED = (
    "These weights are untrained: every normalisation layer has its initial scale of 1. Zero biases and a zero head "
    "are the initialisation, and no sign of damage."
)


@dataclass(frozen=True)
class TensorStatistics:
    """Statistics of the finite values of one tensor, in float64."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    mean: float
    deviation: float
    minimum: float
    maximum: float
    warning: str  # empty if there is none


@dataclass(frozen=True)
class Inspection:
    """The contents of a weights file. `reason` is the error message of `load` if it can't load the file, else empty."""

    path: Path
    format: str | None
    family: str | None
    config: Mapping[str, Any]
    reason: str
    tensors: tuple[TensorStatistics, ...]

    @property
    def numbers(self) -> int:
        """How many numbers all tensors have together."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def is_untrained(self) -> bool:
        """Whether all scales of normalisation layers are 1, as in a new model. A training changes them."""
        scales = [
            tensor for tensor in self.tensors if tensor.name.endswith(("weight", "scale")) and len(tensor.shape) == 1
        ]
        return bool(scales) and all(tensor.minimum == tensor.maximum == 1 for tensor in scales)

    @property
    def warnings(self) -> list[TensorStatistics]:
        """The tensors with a warning. Zeros are normal in an untrained model: biases, running means, a new head."""
        normal = {"", _ALL_ZERO} if self.is_untrained else {""}
        return [tensor for tensor in self.tensors if tensor.warning not in normal]

    def summary(self) -> Table:
        """File, format, architecture and warnings."""
        properties = {
            "file": str(self.path),
            "format": self.format or "unknown",
            "family": self.family or "unknown",
            **{name: str(value) for name, value in self.config.items()},
            "tensors": f"{len(self.tensors):,}",
            "numbers": f"{self.numbers:,}",
            "warnings": ", ".join(f"{tensor.name} ({tensor.warning})" for tensor in self.warnings) or "none",
        }
        return Table(
            "Contents",
            [Column("what", "property"), Column("value", "value")],
            [{"what": name, "value": value} for name, value in properties.items()],
            notes=[self.reason] if self.reason else [],
        )

    def table(self) -> Table:
        """One row for each tensor."""
        warned = {tensor.name for tensor in self.warnings}
        return Table(
            "Tensors",
            [
                Column("name", "tensor"),
                Column("shape", "shape"),
                Column("dtype", "dtype"),
                Column("mean", "mean", digits=4),
                Column("deviation", "sd", digits=4),
                Column("minimum", "min", digits=3),
                Column("maximum", "max", digits=3),
                Column("warning", "warning"),
            ],
            [
                {
                    "name": tensor.name,
                    "shape": " x ".join(map(str, tensor.shape)),
                    "dtype": tensor.dtype,
                    **{
                        name: value if math.isfinite(value) else None
                        for name, value in (
                            ("mean", tensor.mean),
                            ("deviation", tensor.deviation),
                            ("minimum", tensor.minimum),
                            ("maximum", tensor.maximum),
                        )
                    },
                    "warning": tensor.warning if tensor.name in warned else None,
                }
                for tensor in self.tensors
            ],
        )


def inspect(source: Source, given: Mapping[str, Any]) -> Inspection:
    """Inspects the weights of `source`.

    `given` are config fields that the file does not store, as for `load`. If they are missing, the tensors are listed
    without the config. Raises UserError if the file can't be read.
    """
    file = open_weights_file(source.path)
    tensors = tuple(_statistics(file))
    if source.family is not None and source.family not in FAMILIES:
        return Inspection(source.path, "mixlab", source.family, source.config, "", tensors)
    try:
        identified = identify_weights(source, given.get("image_size"), given)
    except UserError as error:
        if given:
            raise
        return Inspection(source.path, None, None, {}, str(error), tensors)
    return Inspection(source.path, identified.format.name, identified.format.family, identified.config, "", tensors)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@torch.inference_mode()
def reference_logits(model: Model, preprocess: Preprocess) -> Tensor:
    """Logits of shape (class,) for the first test image of scikit-learn's digits, the same on every machine.

    Those of a segmentation are means over places.
    """
    image = preprocess(open_digits().splits["test"].image(0))
    logits = model(image[None, :1].expand(-1, model.config.image_channels, -1, -1))[0]
    return logits.reshape(len(logits), -1).mean(dim=1)


def _statistics(file: WeightsFile) -> Iterator[TensorStatistics]:
    for name, stored in file.stored.items():
        values = file.tensor(name).double().flatten()
        finite = values[values.isfinite()]
        described = finite if len(finite) else torch.full((1,), math.nan, dtype=torch.float64)
        yield TensorStatistics(
            name=name,
            shape=stored.shape,
            dtype=str(stored.dtype).removeprefix("torch."),
            mean=described.mean().item(),
            deviation=described.std(correction=0).item(),
            minimum=described.min().item(),
            maximum=described.max().item(),
            warning=_warning(name, values, finite),
        )


def _warning(name: str, values: Tensor, finite: Tensor) -> str:
    if nan := int(values.isnan().sum()):
        return f"{nan:,} NaN"
    if infinite := len(values) - len(finite):
        return f"{infinite:,} infinite"
    if name.endswith("running_var") and bool((values < 0).any()):
        return "negative variance"
    return _ALL_ZERO if len(values) > 1 and not values.any() else ""
