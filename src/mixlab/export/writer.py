"""What a file format needs to write a model, and what it returns."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from mixlab.data.preprocess import Preprocess
from mixlab.export.parity import Logits
from mixlab.speed.inference_plan import Forward
from mixlab.speed.plan import DTYPES
from mixlab.weights.load import Pretrained, build_with_weights
from mixlab.zoo.architecture import Model

Precision = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True)
class Request:
    """A model to be written.

    source      as for `mixlab.load`
    pretrained  the weights of `source`
    model       the same weights in fp32, on the CPU and in evaluation mode
    precision   of the network
    data        the name of a data set with training and validation images for int8; None: that of the run
    metadata    what a program needs to know about the model
    """

    source: str | Path
    pretrained: Pretrained
    model: Model
    precision: Precision
    data: str | None
    metadata: Mapping[str, Any]

    @property
    def preprocess(self) -> Preprocess:
        return self.pretrained.image_preprocess

    def converted_model(self) -> nn.Module:
        """A copy of the model in the precision."""
        return build_with_weights(self.pretrained.weights.clone()).to(DTYPES[self.precision])

    def metadata_as_text(self) -> dict[str, str]:
        """The metadata with lists and tables as JSON."""
        return {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in self.metadata.items()
        }


@dataclass(frozen=True)
class Written:
    """A written model.

    reference  the logits that the model must have: of `Request.model`, or of the quantised network
    versions   of the packages that wrote and run the model, apart from PyTorch
    details    for the card, in addition to what all formats have
    """

    reference: Logits
    versions: Mapping[str, str]
    details: Mapping[str, Any]


def first_output(forward: Forward) -> Logits:
    """The function that returns only the first output."""
    return lambda images: forward(images)[0]
