"""How long a model takes under each plan on this machine, in the user's cache folder."""

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mixlab.files import WriteError, cache_folder, read_cached_json, write_json
from mixlab.measure.machine import device_name
from mixlab.runs.store import store_key
from mixlab.speed.inference_plan import InferencePlan
from mixlab.speed.network_cache import library_versions


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds to prepare a plan, and seconds per image."""

    preparation: float
    per_image: float

    def seconds(self, images: int) -> float:
        return self.preparation + images * self.per_image


class Timings:
    """The cached timings of a model on this machine, by plan, and the batch that they were measured with."""

    def __init__(self, file: Path, batch: int):
        self._file = file
        stored = read_cached_json(file) or {"batch": batch, "plans": {}}
        self.batch: int = stored["batch"]
        self._plans = {plan: Timing(**timing) for plan, timing in stored["plans"].items()}

    def get(self, plan: InferencePlan) -> Timing | None:
        return self._plans.get(str(plan))

    def add(self, plan: InferencePlan, timing: Timing) -> Timing:
        self._plans[str(plan)] = timing
        return timing

    def write(self) -> None:
        stored = {"batch": self.batch, "plans": {plan: asdict(timing) for plan, timing in self._plans.items()}}
        with suppress(WriteError):  # without a cache, the next job measures again
            write_json(self._file, stored)


def timings_file(model: nn.Module, images: Tensor) -> Path:
    """The cache file for models with the same modules and shapes, on this machine."""
    shapes = [(name, list(tensor.shape)) for name, tensor in model.state_dict().items()]
    key = {
        "model": hashlib.sha256(f"{model}{shapes}".encode()).hexdigest(),
        "image": list(images.shape[1:]),
        "device": device_name(images.device),
        "threads": torch.get_num_threads(),
        "versions": library_versions(),
    }
    return cache_folder() / "timings" / f"inference-{store_key(key)}.json"
