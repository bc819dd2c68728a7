"""Applies all rewrites to a model.

A rewrite replaces modules of a model in evaluation mode by equivalent ones, and returns how many it has replaced. The
names of the parameters may change: rewritten models are not trained and not saved. A new rewrite is one more line of
`REWRITES`; its test compares the outputs in float64.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

from torch import nn

from mixlab.speed.rewrites.batch_norm_folding import fold_batch_norms_forward
from mixlab.speed.rewrites.packed_linear import pack_linear_layers

Rewrite = Callable[[nn.Module, Sequence[int]], int]
"""Arguments: the model, and the shape (channel, row, column) of all images."""

REWRITES: Mapping[str, Rewrite] = {
    "BatchNorm folded": fold_batch_norms_forward,
    "packed linear layers": pack_linear_layers,
}


def rewrite(model: nn.Module, image_shape: Sequence[int]) -> tuple[nn.Module, tuple[str, ...]]:
    """A rewritten copy of a model in evaluation mode, and the names of the rewrites that changed it.

    image_shape  (channel, row, column) of all images of the copy
    """
    copy = deepcopy(model)
    return copy, tuple(name for name, apply in REWRITES.items() if apply(copy, image_shape))
