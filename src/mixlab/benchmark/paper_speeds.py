"""Measures the models of the papers' tables on this machine, one after the other, and keeps each result in a file.

A measurement that is interrupted goes on with the next model.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mixlab.benchmark.benchmark import MIN_ROUNDS
from mixlab.benchmark.forms import Call, prepare, stock_forms
from mixlab.errors import UserError, in_one_line
from mixlab.files import write_json
from mixlab.measure.machine import commit, device_name
from mixlab.measure.peak import matrix_product_peak, product
from mixlab.measure.timing import interleaved
from mixlab.report.progress import Log
from mixlab.speed.allocator import retain_freed_memory
from mixlab.speed.plan import time_steps
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import median_interval
from mixlab.zoo.architecture import architecture
from mixlab.zoo.paper import Counted, PaperRow

_MACS_PER_CALL = 64e9
_MAX_BATCH = 16
"""A call has about that many multiply-accumulates, and at most that many images, so that all models take a similar
time."""

_TRIAL_CALLS = 2 * 2
"""Calls for the selection of the faster one of two modes: one warm-up and one timed call each."""

_SHARE_OF_PEAK = 0.6
_SECONDS_TO_BUILD = 2.0
"""Assumptions of the estimated time: the speed relative to that of a product of fp32 matrices, and the time to build a
model."""

_REFERENCE_SIZE = 1024


@dataclass(frozen=True)
class PaperSpeed:
    """The measured speed of a model of a table.

    build, fields      arguments of `create_model`
    batch              images per call
    precision, layout  the faster one of fp32, contiguous and bf16 (fp32 on a processor without kernels for bf16),
                       channels last
    seconds            per call, one for each round
    reference_seconds  of a fixed matrix product in the same rounds, which shows changes in the machine's speed
    """

    build: str
    fields: Mapping[str, Any]
    batch: int
    precision: str
    layout: str
    seconds: Sequence[float]
    reference_seconds: Sequence[float]
    device: str
    threads: int
    torch: str
    commit: str | None

    @property
    def images_per_second(self) -> Estimate:
        return median_interval([self.batch / seconds for seconds in self.seconds], "images/s")


def measured_once(rows: Sequence[PaperRow]) -> list[Counted]:
    """The models of the rows that can be built, each once, from the cheapest to the most expensive."""
    models = {model_key(row.counted): row.counted for row in rows if row.counted}
    return sorted(models.values(), key=lambda counted: counted.macs)


def model_key(counted: Counted) -> str:
    """A name of a model for its file."""
    fields = " ".join(f"{name} {value}" for name, value in counted.fields.items())
    return re.sub(r"\W+", "-", f"{counted.build} {fields}").strip("-")


def not_measured(models: Sequence[Counted], folder: Path) -> list[Counted]:
    """The models without a result in `folder`."""
    return [counted for counted in models if not _file(folder, counted).is_file()]


def _file(folder: Path, counted: Counted) -> Path:
    return folder / f"{model_key(counted)}.json"


def batch_of(counted: Counted) -> int:
    """Images per call."""
    return max(1, min(_MAX_BATCH, round(_MACS_PER_CALL / counted.macs)))


def estimated_seconds(models: Sequence[Counted], device: torch.device) -> float:
    """A rough estimate of the time to measure `models`, from the speed of a matrix product."""
    peak = matrix_product_peak(device, torch.float32)
    macs = sum((MIN_ROUNDS + 1 + _TRIAL_CALLS) * batch_of(counted) * counted.macs for counted in models)
    return macs / (_SHARE_OF_PEAK * peak) + _SECONDS_TO_BUILD * len(models)


def measure_models(
    models: Sequence[Counted], folder: Path, device: torch.device, log: Log
) -> Iterator[tuple[Counted, PaperSpeed | str]]:
    """Measure models, or read the results in `folder` from an earlier call; a text says why a model can't be measured.

    Raises UserError if a result in `folder` is from another device, number of threads or version of PyTorch.
    """
    retain_freed_memory()
    for number, counted in enumerate(models, start=1):
        file = _file(folder, counted)
        if file.is_file():
            yield counted, _stored(file, device)
            continue
        log(f"{number} of {len(models)}: {counted.build} at {counted.image_size} pixels")
        try:
            speed = _measure(counted, device)
        except UserError as error:  # a library is not installed
            yield counted, str(error)
        except Exception as error:  # models of other libraries fail in many ways
            yield counted, in_one_line(error)
        else:
            write_json(file, asdict(speed))
            yield counted, speed


def _stored(file: Path, device: torch.device) -> PaperSpeed:
    speed = PaperSpeed(**json.loads(file.read_text(encoding="utf-8")))
    conditions = (device_name(device), torch.get_num_threads(), torch.__version__)
    if (speed.device, speed.threads, speed.torch) != conditions:
        raise UserError(
            f"{file.parent} has results of {speed.device} with {speed.threads} threads and torch {speed.torch}, but "
            "this machine or its settings differ: give a new folder with --out."
        )
    return speed


def _measure(counted: Counted, device: torch.device) -> PaperSpeed:
    model = architecture(counted.build, **counted.fields)
    batch = batch_of(counted)
    forms = stock_forms("eager", model, device, batch, "inference")
    calls = {form: prepare(form) for form in (forms[0], forms[-1])}
    trial = time_steps(calls, rounds=1)
    fastest = min(trial, key=trial.__getitem__)
    chosen: Call = calls[fastest]
    calls.clear()  # frees the other model
    reference = product(_REFERENCE_SIZE, device, torch.float32)
    seconds = interleaved({"model": chosen, "reference": reference}, MIN_ROUNDS, warmup=1, sample_seconds=0.0)
    return PaperSpeed(
        build=counted.build,
        fields=dict(counted.fields),
        batch=batch,
        precision=fastest.mode.precision,
        layout=fastest.mode.layout,
        seconds=seconds["model"],
        reference_seconds=seconds["reference"],
        device=device_name(device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        commit=commit(),
    )
