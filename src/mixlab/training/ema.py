"""The weights to keep: the model's own or their moving average; the best that validation saw, else the last."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mixlab.training.distributed import gather, scatter
from mixlab.training.recipes.schema import Ema


class Kept:
    def __init__(self, network: nn.Module, ema: Ema | None):
        self._network, self._ema = network, ema
        self._average: dict[str, Tensor] = {}
        self._best_score = -math.inf

    @torch.no_grad()
    def follow(self) -> None:
        """After a step. The first step's weights begin the average."""
        if self._ema is None:
            return
        now = self._network.state_dict()
        if not self._average:
            self._average = {name: tensor.detach().clone() for name, tensor in now.items()}
            return
        moving = [name for name, tensor in now.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self._average[n] for n in moving], [now[n] for n in moving], 1 - self._ema.decay)  # pyright: ignore
        for name in now.keys() - set(moving):
            self._average[name].copy_(now[name])

    @contextmanager
    def shown(self) -> Iterator[nn.Module]:
        """The model with the weights that would be kept now."""
        if not self._average:
            yield self._network
            return
        own = {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}
        _put(self._average, self._network)
        yield self._network
        _put(own, self._network)

    def is_best(self, score: float) -> bool:
        """Of equal scores the later one is kept, which has learned for longer."""
        better = score >= self._best_score
        self._best_score = max(score, self._best_score)
        return better

    def weights(self) -> dict[str, Tensor]:
        """On the CPU; every process has to ask."""
        return {name: gather(tensor) for name, tensor in (self._average or self._network.state_dict()).items()}

    def average(self) -> dict[str, Tensor]:
        return {name: gather(tensor) for name, tensor in self._average.items()}

    def restore(self, average: dict[str, Tensor], best_score: float | None) -> None:
        if average:
            self._average = {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}
            for name, tensor in average.items():
                scatter(self._average[name], tensor)
        if best_score is not None:
            self._best_score = best_score


@torch.no_grad()
def _put(weights: dict[str, Tensor], network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        tensor.copy_(weights[name])
