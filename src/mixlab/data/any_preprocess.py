"""The preprocessing of any model: of images or of texts.

Both have `input_shape` and `dtype`, the shape and type of one prepared input, `normalised` and `finished` for batches
of prepared inputs, `to_dict`, and `noun`, what a sample is called.
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Int32, Int64, UInt8
from torch import Tensor

from mixlab.data.preprocess import Preprocess
from mixlab.data.text.preprocess import TextPreprocess
from mixlab.errors import UserError

AnyPreprocess = Preprocess | TextPreprocess

Prepared = UInt8[Tensor, "image 3 row column"] | Int32[Tensor, "text token feature"]
"""Resized images, or hashed texts, on the CPU."""

Inputs = Float[Tensor, "image channel row column"] | Int64[Tensor, "text token feature"]
"""The inputs of a network: normalised images, or the indices of hashed features."""


def require_images(preprocess: AnyPreprocess) -> Preprocess:
    """The preprocessing of a model for images. Raises UserError for a model that reads texts."""
    if isinstance(preprocess, TextPreprocess):
        raise UserError("The model reads texts, but this needs a model for images: give another model.")
    return preprocess


def preprocess_from_dict(values: Mapping[str, Any]) -> AnyPreprocess:
    """Restore a preprocessing from `to_dict`. Raises UserError for unknown, missing or invalid values."""
    return TextPreprocess.from_dict(values) if "tokens" in values else Preprocess.from_dict(values)
