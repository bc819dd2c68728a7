"""What a file of weights holds: its format, its architecture, and every tensor, one at a time in memory."""

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
from mixlab.zoo.build import Model


@dataclass(frozen=True)
class TensorStatistics:
    name: str
    shape: tuple[int, ...]
    dtype: str
    mean: float
    deviation: float
    minimum: float
    maximum: float
    warning: str  # empty where there is none


@dataclass(frozen=True)
class Inspection:
    path: Path
    format: str | None
    family: str | None
    config: Mapping[str, Any]
    reason: str  # where no model was recognised, or it does not fit: the sentence that `load` ends in
    tensors: tuple[TensorStatistics, ...]

    @property
    def numbers(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def warnings(self) -> list[TensorStatistics]:
        return [tensor for tensor in self.tensors if tensor.warning]

    def summary(self) -> Table:
        about = {
            "file": str(self.path),
            "format": self.format or "unknown",
            "family": self.family or "unknown",
            **{name: str(value) for name, value in self.config.items()},
            "tensors": f"{len(self.tensors):,}",
            "numbers": f"{self.numbers:,}",
            "suspicious": ", ".join(f"{tensor.name} ({tensor.warning})" for tensor in self.warnings) or "nothing",
        }
        return Table(
            "What it holds",
            [Column("what", "what"), Column("value", "value")],
            [{"what": what, "value": value} for what, value in about.items()],
            notes=[self.reason] if self.reason else [],
        )

    def table(self) -> Table:
        return Table(
            "Tensors",
            [
                Column("name", "tensor"),
                Column("shape", "shape"),
                Column("dtype", "dtype"),
                Column("mean", "mean", digits=4),
                Column("deviation", "sd", digits=4),
                Column("minimum", "least", digits=3),
                Column("maximum", "greatest", digits=3),
                Column("suspicion", "suspicious"),
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
                    "suspicion": tensor.warning or None,
                }
                for tensor in self.tensors
            ],
        )


def inspect(source: Source, given: Mapping[str, Any]) -> Inspection:
    """`given`: fields that the file does not say, as for `load`; without them the tensors are listed all the same."""
    checkpoint = open_weights_file(source.path)
    tensors = tuple(_statistics(checkpoint))
    if source.family == "timm":
        return Inspection(source.path, "mixlab", "timm", source.config, "", tensors)
    try:
        found = identify_weights(source, given.get("image_size"), given)
    except UserError as error:
        return Inspection(source.path, None, None, {}, str(error), tensors)
    return Inspection(source.path, found.format.name, found.format.family, found.config, "", tensors)


def checksum(path: Path) -> str:
    """SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@torch.inference_mode()
def reference_logits(model: Model, preprocess: Preprocess) -> Tensor:
    """(class,): of the first handwritten digit of scikit-learn's held-out ones, the same on every machine."""
    image = preprocess(open_digits().splits["test"].image(0))
    return model(image[None, :1].expand(-1, model.config.image_channels, -1, -1))[0]


def _statistics(checkpoint: WeightsFile) -> Iterator[TensorStatistics]:
    for name, stored in checkpoint.stored.items():
        values = checkpoint.tensor(name).double().flatten()
        finite = values[values.isfinite()]
        some = finite if len(finite) else torch.full((1,), math.nan, dtype=torch.float64)
        yield TensorStatistics(
            name=name,
            shape=stored.shape,
            dtype=str(stored.dtype).removeprefix("torch."),
            mean=some.mean().item(),
            deviation=some.std(correction=0).item(),
            minimum=some.min().item(),
            maximum=some.max().item(),
            warning=_suspicion(name, values, finite),
        )


def _suspicion(name: str, values: Tensor, finite: Tensor) -> str:
    if nan := int(values.isnan().sum()):
        return f"{nan:,} NaN"
    if infinite := len(values) - len(finite):
        return f"{infinite:,} infinite"
    if name.endswith("running_var") and bool((values < 0).any()):
        return "negative variance"
    return "all zero" if len(values) > 1 and not values.any() else ""
