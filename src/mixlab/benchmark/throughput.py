"""Inference throughput of models in images per second, measured side by side on this machine."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from mixlab.measure.timing import interleaved
from mixlab.models.contract import input_dtype, input_shape
from mixlab.speed.plan import ComputeMode, candidates, pick_fastest, prepare_model, time_steps
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import median_interval
from mixlab.zoo.architecture import Model

BATCH = 64
"""Default number of images per forward pass."""

Load = Callable[[], Model]
"""Returns the trained model, as a new module on each call."""


def images_per_second(
    models: Mapping[str, Load], device: torch.device, batch: int = BATCH, noun: str = "image"
) -> dict[str, tuple[ComputeMode, Estimate]]:
    """Measure the inference speed of each model in its fastest compute mode.

    models  by name
    batch   images per forward pass
    noun    of an input, for the unit

    A short trial selects the mode of each model; the default mode is kept unless another one is clearly faster. The
    models then take turns in every timing round, so that changes in the speed of the machine affect all of them alike.
    Bf16 is autocast: the weights stay in fp32, because a user's module can have tensors of its own in fp32.

    Returns the mode and the speed by model name; the speed has a 95 % interval over the rounds.
    """
    modes, calls = {}, {}
    for name, load in models.items():
        forward_by_mode = {mode: _forward(load, device, mode, batch) for mode in candidates(device, "auto")}
        modes[name] = pick_fastest(time_steps(forward_by_mode))
        calls[name] = forward_by_mode[modes[name]]
    times = interleaved(calls)
    return {
        name: (modes[name], median_interval([batch / seconds for seconds in times[name]], f"{noun}s/s"))
        for name in models
    }


def _forward(load: Load, device: torch.device, mode: ComputeMode, batch: int) -> Callable[[], object]:
    model = load()
    config: Any = model.config
    shape, dtype = (batch, *input_shape(config)), input_dtype(config)
    if dtype.is_floating_point:
        images = torch.randn(shape, device=device).contiguous(memory_format=mode.memory_format)
    else:
        images = torch.randint(1, config.buckets, shape, dtype=dtype, device=device)  # texts of maximum length
    network: nn.Module = prepare_model(model, device, mode)

    def forward() -> None:
        with torch.inference_mode(), mode.autocast(device):
            network(images)

    return forward
