"""The loss of a batch, in at least fp32, against targets that augmentation may have mixed.

Axes:  image  of the batch
       class    logits, and how much of the image is of each class: a row sums to 1
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mixlab.errors import UserError
from mixlab.training.recipes.schema import Loss


def targets_of(labels: Int[Tensor, " image"], classes: int, loss: Loss) -> Float[Tensor, "image class"]:
    """One for the label, of which all classes share `label_smoothing`."""
    return F.one_hot(labels, classes) * (1 - loss.label_smoothing) + loss.label_smoothing / classes


def loss_of(
    logits: Float[Tensor, "image class"],
    targets: Float[Tensor, "image class"],
    loss: Loss,
    class_weights: Float[Tensor, " class"] | None = None,
) -> Float[Tensor, ""]:
    """The mean over the images; a weight multiplies its class's term, and the mean stays one over their number.

    "sigmoid" asks of each class alone whether it is shown, and sums over the classes, as big_vision does.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = targets.to(logits.dtype)
    weights = None if class_weights is None else class_weights.to(logits)
    if loss.name == "softmax":
        return F.cross_entropy(logits, targets, weights)
    return F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="none").sum(dim=1).mean()


def class_weights_of(
    loss: Loss, labels: Int[np.ndarray, " image"], classes: tuple[str, ...]
) -> Float[Tensor, " class"] | None:
    """By "balanced" all classes weigh as one of the mean size of the training's `labels`; a class without an image
    weighs nothing. Raises UserError.
    """
    if loss.class_weights is None:
        return None
    if loss.class_weights == "balanced":
        images = np.bincount(labels, minlength=len(classes))
        weights = np.divide(len(labels), len(classes) * images, out=np.zeros(len(classes)), where=images > 0)
        return torch.from_numpy(weights)
    if len(loss.class_weights) != len(classes):
        raise UserError(
            f"loss.class_weights has {len(loss.class_weights)} weights for {len(classes)} classes: give one for each, "
            f'in the order {", ".join(classes[:3])} ..., or "balanced".'
        )
    return torch.tensor(loss.class_weights, dtype=torch.float64)
