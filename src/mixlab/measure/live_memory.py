"""Memory of the tensors of a forward pass, counted while it runs on tensors without data."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class _LiveTensors(TorchDispatchMode):
    """Records the storages that operators return, and the peak of the bytes of those that are still in use."""

    def __init__(self, ignored: list[Tensor]):
        super().__init__()
        self.ignored = {tensor.untyped_storage()._cdata for tensor in ignored}
        self.live = WeakIdKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(returned):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in self.ignored:
                storage = leaf.untyped_storage()
                self.live[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self.live.values()))
        return returned


def peak_activation_bytes(model: nn.Module, image_shape: tuple[int, int, int], device: torch.device) -> int:
    """The largest number of bytes that the tensors of a forward pass of one image occupy at the same time, in fp32.

    image_shape  (channel, height, width)
    device       determines the operators; nothing is computed

    The weights, the image and temporary memory inside of an operator are not included.
    """
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        own = {
            name: torch.empty_like(tensor, device=device)
            for name, tensor in chain(model.named_parameters(), model.named_buffers())
        }
        image = torch.empty(1, *image_shape, device=device)
        with _LiveTensors([*own.values(), image]) as tensors:
            functional_call(model, own, (image,))
    return tensors.peak
