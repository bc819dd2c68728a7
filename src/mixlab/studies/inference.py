"""How many pictures a second finished models answer, beside each other on this machine."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from mixlab.evidence.estimate import Estimate
from mixlab.evidence.intervals import median_interval
from mixlab.measure.timing import interleaved
from mixlab.models.contract import height_and_width
from mixlab.runs.folder import Run
from mixlab.speed.plan import Mode, candidates, fastest, placed
from mixlab.zoo.trained import load_trained

BATCH = 64


def images_per_second(folders: Mapping[str, Path], device: torch.device) -> dict[str, tuple[Mode, Estimate]]:
    """By name: the fastest stock mode that a short trial finds, and the speed in it; the models take turns."""
    modes, calls = {}, {}
    for name, folder in folders.items():
        forwards = {mode: _forward(folder, device, mode) for mode in candidates(device, "auto")}
        modes[name], _ = fastest(forwards)
        calls[name] = forwards[modes[name]]
    times = interleaved(calls)
    return {
        name: (modes[name], median_interval([BATCH / seconds for seconds in times[name]], "images/s"))
        for name in folders
    }


def _forward(folder: Path, device: torch.device, mode: Mode) -> Callable[[], object]:
    model = load_trained(Run(folder))
    size = height_and_width(model.config.image_size)
    images = torch.randn(BATCH, model.config.image_channels, *size, device=device)
    images = images.contiguous(memory_format=mode.memory_format)
    network: nn.Module = placed(model, device, mode)

    def forward() -> None:
        with torch.inference_mode(), mode.autocast(device):
            network(images)

    return forward
