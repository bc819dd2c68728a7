"""Runs a model on many images, under the fastest plan of this machine.

    inference = Inference(model, device)
    inference.plan_for(images, number=2_000)   # some images of the job; returns at once if the job is short
    (logits,) = inference(images)

The plan is selected by a short measurement on images of the job. It starts with the stock plan, eager in fp32, and
tries one change after another. A change is taken if the whole job is expected to end earlier, preparation included, and
if the outputs are those of the stock plan up to a stated tolerance. Timings are cached in the user's cache folder.
"""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.files import WriteError, cache_folder, write_json
from mixlab.measure.machine import device_name
from mixlab.measure.timing import synchronize
from mixlab.runs.store import store_key
from mixlab.speed.inference_plan import STOCK, Forward, InferencePlan, Outputs, Speed, as_tuple, build_forward
from mixlab.speed.plan import ComputeMode, prepare_model
from mixlab.speed.rewrites.inference_rewrites import rewrite

TOLERANCES = {"fp32": 1e-3, "bf16": 0.1}
"""The largest accepted difference of an output from that of the stock plan, as a fraction of the standard deviation of
the outputs. The most probable class can differ only if the two largest logits are closer than twice that."""

_SHORT = 2.0
"""A job that takes the stock plan less than so many seconds runs under the stock plan."""

_TRIAL_SECONDS, _MIN_BATCH, _MAX_BATCH = 1.0, 8, 64
"""The trial batch takes the stock plan about a second. It is also the batch of the plan."""

_MIN_SAVING = 0.05
"""A change is taken if it saves at least this fraction of the remaining time; less is within the noise."""

_CLEARLY_FASTER = 0.7
"""A ratio of times that is not measured a second time."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds to prepare a plan, and seconds per image."""

    preparation: float
    per_image: float

    def seconds(self, images: int) -> float:
        return self.preparation + images * self.per_image


class Inference:
    """A model in evaluation mode that runs under a plan; at first, this is the stock plan.

    model   maps images (image, channel, row, column) to a tensor or a tuple of tensors (image, output)
    speed   "off": always the stock plan
    number  images of all jobs together, which have one plan
    log     called with a line about the plan that was selected
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        *,
        speed: Speed = "off",
        number: int = 0,
        log: Callable[[str], None] | None = None,
    ):
        self.device = device
        self.plan = STOCK
        self._model = prepare_model(model.eval(), device, STOCK.mode)
        self._may_plan, self._number = speed == "auto", number
        self._log = log
        self._forward: Forward = lambda images: as_tuple(self._model(images))

    @torch.inference_mode()
    def __call__(self, images: Float[Tensor, "image channel row column"]) -> Outputs:
        """The outputs in fp32, for images on the device."""
        parts = [self._forward(part) for part in images.split(self.plan.batch or len(images))]
        return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))

    @torch.inference_mode()
    def plan_for(self, images: Float[Tensor, "image channel row column"], number: int) -> None:
        """Select the plan for a job, unless it is short, or a plan was selected before.

        images  some images of the job, normalised and on the device
        number  images of the job, if they are more than those of all jobs
        """
        number = max(number, self._number)
        if not self._may_plan or number <= _MIN_BATCH or len(images) < _MIN_BATCH:
            return
        # The first call of a shape is slower than the others.
        seconds = min(_seconds(lambda: self._model(images[:_MIN_BATCH])) for _ in range(2)) / _MIN_BATCH
        if number * seconds < _SHORT:
            return
        self._may_plan = False
        timings = _Timings(_timings_file(self._model, images), batch=_trial_batch(seconds))
        selection = _Selection(self._model, images[: timings.batch], number, timings)
        self.plan, self._forward = selection.plan, selection.forward
        if self._log:
            self._log(
                f"Inference: {self.plan}; {1 / selection.timing.per_image:.3g} images/s, "
                f"eager in fp32: {1 / selection.stock.per_image:.3g}."
            )


class _Timings:
    """The cached timings of a model on this machine, by plan, and the batch that they were measured with."""

    def __init__(self, file: Path, batch: int):
        self._file = file
        stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"batch": batch, "plans": {}}
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


class _Selection:
    """The selection of a plan: tries changes of the best plan so far."""

    def __init__(
        self, model: nn.Module, images: Float[Tensor, "image channel row column"], number: int, timings: "_Timings"
    ):
        self._model, self._images, self._number, self._timings = model, images, number, timings
        self.plan = replace(STOCK, batch=len(images))
        self.forward: Forward = lambda images: as_tuple(model(images))
        start = time.perf_counter()
        self._reference = self.forward(images)
        synchronize()
        timing = Timing(0.0, (time.perf_counter() - start) / len(images))
        self.stock = self.timing = timings.get(self.plan) or timings.add(self.plan, timing)
        for change, guess in _CHANGES:
            candidate = change(self.plan, model, images)
            if candidate is not None:
                self._try(candidate, guess)
        timings.write()

    def _try(self, candidate: InferencePlan, guess: "_Guess") -> None:
        known = self._timings.get(candidate)
        if not self._saves_time(known or Timing(guess.preparation, guess.time_ratio * self.timing.per_image)):
            return
        start = time.perf_counter()
        try:
            forward = build_forward(self._model, candidate, self._images.shape[1:])
            outputs = forward(self._images)
        except Exception:  # compilers and converters do not support every model, and fail in many ways
            return
        preparation = time.perf_counter() - start
        if not is_close(outputs, self._reference, TOLERANCES[candidate.mode.precision]):
            return
        timing = replace(known or self._measure(candidate, forward, preparation), preparation=0.0)  # it is prepared
        if self._saves_time(timing):
            self.plan, self.forward, self.timing = candidate, forward, timing

    def _measure(self, plan: InferencePlan, forward: Forward, preparation: float) -> Timing:
        """Time a plan and the best plan so far in turn, because the speed of a machine with other load varies."""
        best, candidate = [], []
        for _ in range(2):
            best.append(_seconds(lambda: self.forward(self._images)))
            candidate.append(_seconds(lambda: forward(self._images)))
            if candidate[0] < _CLEARLY_FASTER * best[0]:
                break
        per_image = min(candidate) / min(best) * self.timing.per_image
        return self._timings.add(plan, Timing(preparation, per_image))

    def _saves_time(self, timing: Timing) -> bool:
        return timing.seconds(self._number) < (1 - _MIN_SAVING) * self.timing.seconds(self._number)


@dataclass(frozen=True, slots=True)
class _Guess:
    """What is assumed of a change that was not measured yet: seconds of preparation, and an optimistic ratio of times.

    A change with a long preparation is only tried if the job is long.
    """

    preparation: float
    time_ratio: float


_Change = Callable[[InferencePlan, nn.Module, Tensor], InferencePlan | None]
"""Maps the best plan so far, the model and the trial batch to another plan; None if the change is impossible."""


def _reduced_precision(plan: InferencePlan, model: nn.Module, images: Tensor) -> InferencePlan | None:
    return replace(plan, mode=ComputeMode("bf16")) if images.device.type in ("cpu", "cuda") else None


def _channels_last(plan: InferencePlan, model: nn.Module, images: Tensor) -> InferencePlan | None:
    # Without such convolutions, as in a Mixer or a DaViT, the layout makes no difference.
    has_convolutions = any(
        isinstance(module, nn.Conv2d) and module.groups == 1 and module.stride == (1, 1) for module in model.modules()
    )
    return replace(plan, mode=replace(plan.mode, layout="channels_last")) if has_convolutions else None


def _rewritten(plan: InferencePlan, model: nn.Module, images: Tensor) -> InferencePlan | None:
    _, names = rewrite(model, images.shape[1:])
    return replace(plan, rewrites=names) if names else None


def _openvino(plan: InferencePlan, model: nn.Module, images: Tensor) -> InferencePlan | None:
    is_available = all(find_spec(name) for name in ("openvino", "onnx", "onnxscript"))
    if images.device.type != "cpu" or not is_available:
        return None
    return InferencePlan("openvino", ComputeMode(plan.mode.precision), batch=plan.batch)


def _compiled(plan: InferencePlan, model: nn.Module, images: Tensor) -> InferencePlan | None:
    if plan.execution == "openvino" or images.device.type not in ("cpu", "cuda"):
        return None
    return replace(plan, execution="compiled")


_CHANGES: tuple[tuple[_Change, _Guess], ...] = (
    (_reduced_precision, _Guess(0.5, 0.4)),
    (_channels_last, _Guess(0.5, 0.7)),
    (_rewritten, _Guess(0.5, 0.9)),
    (_openvino, _Guess(4.0, 0.7)),
    (_compiled, _Guess(40.0, 0.8)),
)


def is_close(outputs: Outputs, reference: Outputs, tolerance: float) -> bool:
    """Whether no output differs from its reference by more than `tolerance` standard deviations of the reference."""
    return all(
        bool((output - expected).abs().max() <= tolerance * expected.std())
        for output, expected in zip(outputs, reference, strict=True)
    )


def _timings_file(model: nn.Module, images: Tensor) -> Path:
    """The cache file for models with the same modules and shapes, on this machine."""
    shapes = [(name, list(tensor.shape)) for name, tensor in model.state_dict().items()]
    key = {
        "model": hashlib.sha256(f"{model}{shapes}".encode()).hexdigest(),
        "image": list(images.shape[1:]),
        "device": device_name(images.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return cache_folder() / "timings" / f"inference-{store_key(key)}.json"


def _trial_batch(seconds_per_image: float) -> int:
    return min(_MAX_BATCH, max(_MIN_BATCH, int(_TRIAL_SECONDS / seconds_per_image)))


def _seconds(call: Callable[[], object]) -> float:
    synchronize()
    start = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - start
