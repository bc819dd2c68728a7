"""The loss of a batch of logits for soft targets, computed in at least fp32.

Axes:  image  images of the batch
       class  logits, or target probabilities
"""

from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mixlab.errors import UserError


@runtime_checkable
class Loss(Protocol):
    """The section [loss] of a recipe, `mixlab.training.recipes.schema.Loss`."""

    @property
    def name(self) -> Literal["softmax", "sigmoid"]: ...

    @property
    def label_smoothing(self) -> float: ...

    @property
    def class_weights(self) -> Literal["balanced"] | tuple[float, ...] | None: ...

    @property
    def head_bias(self) -> float | None: ...


def targets_of(labels: Int[Tensor, " image"], classes: int, loss: Loss) -> Float[Tensor, "image class"]:
    """One-hot targets with label smoothing: `label_smoothing` is distributed evenly over all classes."""
    return F.one_hot(labels, classes) * (1 - loss.label_smoothing) + loss.label_smoothing / classes


def compute_loss(
    logits: Float[Tensor, "image class"],
    targets: Float[Tensor, "image class"],
    loss: Loss,
    class_weights: Float[Tensor, " class"] | None = None,
) -> Float[Tensor, ""]:
    """The mean loss over the images.

    logits         any floating-point dtype
    targets        probabilities, possibly mixed; for "softmax", each row sums to 1
    class_weights  factor of each class's term; the sum is still divided by the number of images

    "softmax" is the cross-entropy. "sigmoid" is the binary cross-entropy of each class, summed over the classes, as in
    big_vision.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = targets.to(logits.dtype)
    weights = None if class_weights is None else class_weights.to(logits)
    if loss.name == "softmax":
        return F.cross_entropy(logits, targets, weights)
    return F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="none").sum(dim=1).mean()


def compute_class_weights(
    loss: Loss, labels: Int[np.ndarray, " image"], classes: tuple[str, ...]
) -> Float[Tensor, " class"] | None:
    """The class weights for `compute_loss`, or None if the recipe has none.

    "balanced" weights are inversely proportional to the number of each class's images in `labels`, the labels of the
    train split; a class without images gets 0. Raises UserError if the number of weights is not that of `classes`.
    """
    if loss.class_weights != "balanced":
        return given_class_weights(loss, classes)
    images = np.bincount(labels, minlength=len(classes))
    weights = np.divide(len(labels), len(classes) * images, out=np.zeros(len(classes)), where=images > 0)
    return torch.from_numpy(weights)


def given_class_weights(loss: Loss, classes: tuple[str, ...]) -> Float[Tensor, " class"] | None:
    """The weights that the recipe lists, or None. Raises UserError if their number is not that of `classes`."""
    if loss.class_weights is None:
        return None
    if len(loss.class_weights) != len(classes):
        raise UserError(
            f"loss.class_weights has {len(loss.class_weights)} weights for {len(classes)} classes: give one per class, "
            f'in the order {", ".join(classes[:3])} ..., or "balanced".'
        )
    return torch.tensor(loss.class_weights, dtype=torch.float64)
