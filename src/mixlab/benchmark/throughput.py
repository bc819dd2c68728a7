"""How many images a second finished models answer, beside each other on this machine."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from mixlab.measure.timing import interleaved
from mixlab.models.contract import height_and_width
from mixlab.speed.plan import ComputeMode, candidates, pick_mode, prepare_model, time_modes
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import median_interval
from mixlab.zoo.architecture import Model

BATCH = 64


Load = Callable[[], Model]
"""A finished model, anew with each call."""


def images_per_second(
    models: Mapping[str, Load], device: torch.device, batch: int = BATCH
) -> dict[str, tuple[ComputeMode, Estimate]]:
    """By name: the fastest stock mode that a short trial finds, and the speed in it; the models take turns."""
    modes, calls = {}, {}
    for name, load in models.items():
        forwards = {mode: _forward(load, device, mode, batch) for mode in candidates(device, "auto")}
        modes[name] = pick_mode(time_modes(forwards))
        calls[name] = forwards[modes[name]]
    times = interleaved(calls)
    return {
        name: (modes[name], median_interval([batch / seconds for seconds in times[name]], "images/s"))
        for name in models
    }


def _forward(load: Load, device: torch.device, mode: ComputeMode, batch: int) -> Callable[[], object]:
    model = load()
    size = height_and_width(model.config.image_size)
    images = torch.randn(batch, model.config.image_channels, *size, device=device)
    images = images.contiguous(memory_format=mode.memory_format)
    network: nn.Module = prepare_model(model, device, mode)

    def forward() -> None:
        with torch.inference_mode(), mode.autocast(device):
            network(images)

    return forward
