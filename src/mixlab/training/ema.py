"""An exponential moving average of a model's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mixlab.training.distributed import gather, scatter


class ModelEma:
    """An exponential moving average of `model`'s floating-point parameters and buffers; other buffers are copied.

    The average starts with the weights after the first step. Each update is
    `average = decay * average + (1 - decay) * weights`, with `decay` in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float):
        self._model, self._decay = model, decay
        self._average: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Add the current weights to the average. Call it after every step."""
        current = self._model.state_dict()
        if not self._average:
            self._average = _copied(current)
            return
        floating = [name for name, tensor in current.items() if tensor.is_floating_point()]
        sharded = [name for name in floating if isinstance(current[name], DTensor)]  # not the buffers
        for names in (sharded, [name for name in floating if name not in sharded]):
            if names:
                averages, weights = [self._average[name] for name in names], [current[name] for name in names]
                torch._foreach_lerp_(averages, weights, 1 - self._decay)  # pyright: ignore
        for name in current.keys() - set(floating):
            self._average[name].copy_(current[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context, the model has the averaged weights. Has no effect before the first update."""
        own = _copied(self._model.state_dict()) if self._average else {}
        _load(self._average, self._model)
        yield
        _load(own, self._model)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged tensors on the CPU; empty before the first update. Collective: call it on every rank."""
        return {name: gather(tensor) for name, tensor in self._average.items()}

    def load_state_dict(self, average: dict[str, Tensor]) -> None:
        """Load the result of `state_dict`, which may come from a training with another number of processes."""
        self._average = _copied(self._model.state_dict()) if average else {}
        for name, tensor in average.items():
            scatter(self._average[name], tensor)


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@torch.no_grad()
def _load(weights: dict[str, Tensor], model: nn.Module) -> None:
    current = model.state_dict()
    for name, tensor in weights.items():
        current[name].copy_(tensor)
