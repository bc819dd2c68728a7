"""Memory of the activations that a forward pass saves for the backward pass, computed from shapes alone."""

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
    images_shape: tuple[int, ...],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    device: torch.device,
    cast: Callable[[], AbstractContextManager[object]],
    dtype: torch.dtype | None = None,
) -> int:
    """Bytes of the tensors saved for the backward pass, without the images and the model's own tensors.

    network:      the model, on any device including meta. Its training or evaluation mode is used as it is.
    images_shape: the shape of the input: for a model, (image, channel, row, column).
    dtype:        of the input; None: torch's default dtype.
    loss:         function of (logits, images) that returns a scalar.
    device:       the device of the simulated pass; it must exist on this machine.
    cast:         returns the context manager of the forward pass, for example autocast.
    """
    saved: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage.nbytes()  # several tensors can share one storage
        return tensor

    # tensors that belong to the loss, such as class weights, are real tensors
    with FakeTensorMode(allow_non_fake_inputs=True), saved_tensors_hooks(record, lambda tensor: tensor):
        own = {
            name: torch.empty_like(tensor, device=device, requires_grad=tensor.requires_grad)
            for name, tensor in chain(network.named_parameters(), network.named_buffers())
        }
        images = torch.empty(images_shape, dtype=dtype, device=device)
        with cast():
            logits = functional_call(network, own, (images,))
        loss_value = loss(logits, images)  # keeps the graph alive, so that no storage address is reused
    for tensor in (*own.values(), images):
        saved.pop(tensor.untyped_storage()._cdata, None)
    del loss_value
    return sum(saved.values())
