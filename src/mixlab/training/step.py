"""The gradients of one batch."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mixlab.training.sections import Loss


def add_gradients(
    model: nn.Module,
    images: Float[Tensor, "picture channel row column"],
    labels: Int[Tensor, " picture"],
    *,
    loss: Loss,
    micro_batch: int,
    backward: Callable[[Tensor], object],
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Add the gradients of the batch's mean loss to the parameters.

    The batch goes through in near-equal parts of at most `micro_batch` pictures. Returns the mean loss and the number
    of right answers, both still on the device.
    """
    parts = -(-len(labels) // micro_batch)
    mean_loss, right = images.new_zeros(()), labels.new_zeros(())
    for part_images, part_labels in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
        logits = model(part_images)
        part_loss = F.cross_entropy(logits.float(), part_labels, label_smoothing=loss.label_smoothing)
        share = part_loss * (len(part_labels) / len(labels))
        backward(share)
        mean_loss += share.detach()
        right += (logits.detach().argmax(dim=1) == part_labels).sum()
    return mean_loss, right
