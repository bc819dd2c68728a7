"""What a forward pass would leave in memory for the backward pass: found on shapes alone, nothing is computed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import chain

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call


def activation_bytes(
    network: nn.Module,
    images_shape: tuple[int, int, int, int],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    device: torch.device,
    cast: Callable[[], AbstractContextManager[object]],
) -> int:
    """Of images of shape (image, channel, row, column), without these and without the model's own tensors.

    `network` may lie on the meta device and is in the mode that counts; `loss` is of logits and images. The forward
    pass is within `cast()`, as on `device`, which must be here.
    """
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage.nbytes()  # several tensors may look at one storage
        return tensor

    # what a loss holds, such as weights of classes, comes as it is
    with FakeTensorMode(allow_non_fake_inputs=True), saved_tensors_hooks(keep, lambda tensor: tensor):
        own = {
            name: torch.empty_like(tensor, device=device, requires_grad=tensor.requires_grad)
            for name, tensor in chain(network.named_parameters(), network.named_buffers())
        }
        images = torch.empty(images_shape, device=device)
        with cast():
            logits = functional_call(network, own, (images,))
        kept = loss(logits, images)  # the graph holds what was saved, so that no storage is counted as another
    for tensor in (*own.values(), images):
        saved.pop(tensor.untyped_storage()._cdata, None)
    del kept
    return sum(saved.values())
