"""Preprocessing of texts: tokens and their hashed features, at the maximum length of a model.

Axes:  text     texts of a batch
       token    rows of a text; the last ones may be padding
       feature  hashed features of a token
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from mixlab.data.text.hashing import hashed, tokens_of
from mixlab.errors import UserError


@dataclass(frozen=True)
class TextPreprocess:
    """The preprocessing of a model for texts. The values are those of the config of the model.

    tokens    the maximum length of a text; longer texts are cut
    features  hashed features of a token at most
    buckets   features are from 1 to `buckets` - 1; 0 is padding
    """

    tokens: int
    features: int
    buckets: int

    dtype: ClassVar[np.dtype] = np.dtype(np.int32)
    """Of prepared texts."""
    transform: ClassVar[None] = None
    noun: ClassVar[str] = "text"

    @property
    def input_shape(self) -> tuple[int, int]:
        """(token, feature)."""
        return self.tokens, self.features

    def __call__(self, text: str) -> Int64[Tensor, "token feature"]:
        """The input of a model for one text."""
        return self.normalised(self.encoded(text))

    def encoded(self, text: str) -> Int32[Tensor, "token feature"]:
        """The first half: the hashed features of a text on the CPU. Raises UserError for a text without tokens."""
        tokens = tokens_of(text)
        if not tokens:
            raise UserError(f"{text!r:.40} has no words: give a text with at least one character that is not a space.")
        return torch.from_numpy(hashed(tokens, self.tokens, self.features, self.buckets))

    def normalised(self, texts: Int32[Tensor, "*text token feature"]) -> Int64[Tensor, "*text token feature"]:
        """The second half: the indices that a network takes, on their device."""
        return texts.long()

    def finished(self, texts: Int32[Tensor, "text token feature"]) -> Int64[Tensor, "text token feature"]:
        """The same, as in evaluation."""
        return self.normalised(texts)

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TextPreprocess":
        """Restore the values from `to_dict`. Raises UserError for unknown or missing ones."""
        known = [field.name for field in fields(cls)]
        if set(values) != set(known):
            raise UserError(
                f"The preprocessing of texts has the keys {sorted(values)}: they must be {', '.join(known)}."
            )
        return cls(**values)
