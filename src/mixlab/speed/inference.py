"""Runs a model on many images, under the fastest plan of this machine.

    inference = Inference(model, device)
    inference.plan_for(images, number=2_000)   # some images of the job; returns at once if the job is short
    (logits,) = inference(images)

The plan is selected by a short measurement on images of the job. It starts with the stock plan, eager in fp32, and
tries one change after another. A change is taken if the whole job is expected to end earlier, preparation included, and
if the outputs are those of the stock plan up to a stated tolerance. Timings and converted models are cached in the
user's cache folder.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from mixlab.data.any_preprocess import Inputs
from mixlab.errors import in_one_line
from mixlab.measure.timing import seconds_per_call
from mixlab.report.progress import Log
from mixlab.speed.inference_plan import STOCK, Forward, InferencePlan, Outputs, Speed, as_tuple, build_forward
from mixlab.speed.inference_timings import Timing, Timings, timings_file
from mixlab.speed.network_cache import NetworkKey, conversion_key, is_cached
from mixlab.speed.openvino import OPENVINO_PACKAGES
from mixlab.speed.plan import ComputeMode, Precision, bf16_can_be_faster, prepare_model
from mixlab.speed.rewrites.inference_rewrites import rewrite

TOLERANCES = {"fp32": 1e-3, "bf16": 0.1}
"""The largest accepted difference of an output from that of the stock plan, as a fraction of the standard deviation of
the outputs. The most probable class can differ only if the two largest logits are closer than twice that."""

_SHORT = 2.0
"""A job that takes the stock plan less than that many seconds runs under the stock plan."""

_TRIAL_SECONDS, _MIN_BATCH, _MAX_BATCH = 0.5, 8, 64
"""The trial batch takes the stock plan about half a second. It is also the batch of the plan."""

_MIN_SAVING = 0.05
"""A change is taken if it saves at least this fraction of the remaining time; less is within the noise."""

_CLEARLY_FASTER = 0.7
"""A ratio of times that is not measured a second time."""

_SECONDS_FROM_CACHE = 1.5
"""The time to load OpenVINO and a model that was converted before."""


class Inference:
    """A model in evaluation mode that runs under a plan; at first, this is the stock plan.

    model       maps images (image, channel, row, column) to a tensor or a tuple of tensors (image, output)
    speed       "off": always the stock plan
    precisions  of the plans that may be selected
    number      images of all jobs together, which have one plan
    key         of the model, for the cache of conversions; None: they are not cached
    log         called with a line about the plan that was selected
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        *,
        speed: Speed = "off",
        precisions: Sequence[Precision] = ("fp32", "bf16"),
        number: int = 0,
        key: NetworkKey | None = None,
        log: Log | None = None,
    ):
        self.device = device
        self.plan = STOCK
        self._model = prepare_model(model.eval(), device, STOCK.mode)
        self.speed: Speed = speed
        self._may_plan, self._precisions = speed == "auto", precisions
        self._number, self._key = number, key
        self._log = log or (lambda line: None)
        self._stock_seconds: float | None = None  # of an image
        self._forward: Forward = lambda images: as_tuple(self._model(images))

    @torch.inference_mode()
    def __call__(self, images: Inputs) -> Outputs:
        """The outputs in fp32, for images on the device."""
        parts = [self._forward(part) for part in images.split(self.plan.batch or len(images))]
        return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))

    @torch.inference_mode()
    def plan_for(self, images: Inputs, number: int) -> None:
        """Select the plan for a job, unless it is short, or a plan was selected before.

        images  some images of the job, normalised and on the device
        number  images of the job, if they are more than those of all jobs
        """
        number = max(number, self._number)
        if not self._may_plan or number <= _MIN_BATCH or len(images) < _MIN_BATCH:
            return
        if self._stock_seconds is None:
            self._stock_seconds = self._measured(images[:1])
        if number * self._stock_seconds < _SHORT:
            return
        self._stock_seconds = self._measured(images[:1])  # the first call was slower
        if self._stock_seconds * _MIN_BATCH < _TRIAL_SECONDS:
            self._stock_seconds = self._measured(images[:_MIN_BATCH])
        if number * self._stock_seconds < _SHORT:
            return
        self._may_plan = False
        timings = Timings(timings_file(self._model, images), batch=_trial_batch(self._stock_seconds))
        selection = _Selection(
            self._model, images[: timings.batch], number, timings, self._precisions, self._key, self._log
        )
        self.plan, self._forward = selection.plan, selection.forward
        self._log(
            f"Inference: {self.plan}; {1 / selection.timing.per_image:.3g} images/s, "
            f"eager in fp32: {1 / selection.stock.per_image:.3g}."
        )

    def _measured(self, images: Inputs) -> float:
        """The seconds of an image under the stock plan."""
        return seconds_per_call(lambda: self._model(images)) / len(images)


class _Selection:
    """The selection of a plan: tries changes of the best plan so far.

    A plan whose timing is known is built only if no better one is found, or to measure another one beside it.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Inputs,
        number: int,
        timings: Timings,
        precisions: Sequence[Precision],
        key: NetworkKey | None,
        log: Log,
    ):
        self._model, self._images, self._number, self._timings, self._key = model, images, number, timings, key
        self._log = log
        self._reference = as_tuple(model(images))
        plan, seconds = replace(STOCK, batch=len(images)), None
        if (known := timings.get(plan)) is None:
            seconds = seconds_per_call(lambda: model(images))  # the first call was slower
            known = timings.add(plan, Timing(0.0, seconds / len(images)))
        self.stock = known
        stock = _Built(plan, self.stock, lambda images: as_tuple(model(images)), seconds)
        self._accepted: list[_Known | _Built] = [stock]
        for change in _CHANGES:
            candidate = self._changed(change)
            if candidate is not None and candidate.plan.mode.precision in precisions:
                self._try(candidate)
        self.forward = self._build_best().forward
        timings.write()

    @property
    def plan(self) -> InferencePlan:
        """The best plan so far."""
        return self._accepted[-1].plan

    @property
    def timing(self) -> Timing:
        """The timing of the best plan so far."""
        return self._accepted[-1].timing

    def _changed(self, change: "_Change") -> "_Candidate | None":
        try:
            return change(self.plan, self._model, self._images)
        except Exception as error:  # modules of a user can differ in many ways from those that rewrites expect
            self._log(f"Faster modules for inference are not used: {in_one_line(error)}")
            return None

    def _try(self, candidate: "_Candidate") -> None:
        plan = candidate.plan
        known = self._timings.get(plan)
        is_converted = plan.execution == "openvino" and self._is_converted
        expected = known or Timing(candidate.preparation, candidate.time_ratio * self.timing.per_image)
        if is_converted:
            expected = replace(expected, preparation=_SECONDS_FROM_CACHE)
        if not self._saves_time(expected):
            return
        if known:
            self._accepted.append(_Known(plan, expected))
            return
        best = self._build_best()
        start = time.perf_counter()
        forward = self._build(plan)
        if forward is None:
            return
        preparation = max(time.perf_counter() - start, candidate.preparation if is_converted else 0.0)
        seconds, ratio = self._time(forward, best)
        timing = self._timings.add(plan, Timing(preparation, ratio * best.timing.per_image))
        if self._saves_time(prepared := replace(timing, preparation=0.0)):
            self._accepted.append(_Built(plan, prepared, forward, seconds))

    def _build_best(self) -> "_Built":
        """Build the best plan. Plans with other outputs are dropped; the stock plan is always left."""
        while isinstance(best := self._accepted.pop(), _Known):
            if (forward := self._build(best.plan)) is not None:
                best = _Built(best.plan, replace(best.timing, preparation=0.0), forward, None)
                break
        self._accepted.append(best)
        return best

    def _build(self, plan: InferencePlan) -> Forward | None:
        """A function that runs the model under a plan; None if that is impossible, or the outputs are others."""
        try:
            forward = build_forward(self._model, plan, self._images.shape[1:], self._key)
            outputs = forward(self._images)
        except Exception as error:  # compilers and converters do not support every model, and fail in many ways
            self._log(f"Inference under {plan} is not used: {in_one_line(error)}")
            return None
        if not is_close(outputs, self._reference, TOLERANCES[plan.mode.precision]):
            self._log(f"Inference under {plan} is not used: its outputs are not those of PyTorch in fp32.")
            return None
        return forward

    def _time(self, forward: Forward, best: "_Built") -> tuple[float, float]:
        """The seconds of a batch, and their ratio to those of the best plan so far.

        The two are timed in turn, because the speed of a machine with other load varies.
        """
        seconds, best_seconds = [], [best.seconds] if best.seconds else []
        for _ in range(2):
            seconds.append(seconds_per_call(lambda: forward(self._images)))
            if best_seconds and seconds[0] < _CLEARLY_FASTER * best_seconds[0]:
                break
            best_seconds.append(seconds_per_call(lambda: best.forward(self._images)))
        return min(seconds), min(seconds) / min(best_seconds)

    def _saves_time(self, timing: Timing) -> bool:
        return timing.seconds(self._number) < (1 - _MIN_SAVING) * self.timing.seconds(self._number)

    @cached_property
    def _is_converted(self) -> bool:
        return self._key is not None and is_cached(conversion_key(self._key, self._images.shape[1:]))


@dataclass(frozen=True, slots=True)
class _Known:
    """A plan that saves time according to earlier timings. Its outputs are not compared yet."""

    plan: InferencePlan
    timing: Timing


@dataclass(frozen=True, slots=True)
class _Built:
    """A plan that saves time, with the outputs of the stock plan.

    seconds  of a trial batch in this job; None if they were not measured
    """

    plan: InferencePlan
    timing: Timing
    forward: Forward
    seconds: float | None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A plan to try, and what is assumed of it until it is measured.

    preparation  seconds; a plan with a long preparation is only tried if the job is long
    time_ratio   of the times of an image, relative to the best plan so far; optimistic
    """

    plan: InferencePlan
    preparation: float
    time_ratio: float


_Change = Callable[[InferencePlan, nn.Module, Tensor], _Candidate | None]
"""Maps the best plan so far, the model and the trial batch to another plan; None if the change is impossible."""


def _reduced_precision(plan: InferencePlan, model: nn.Module, images: Tensor) -> _Candidate | None:
    if not bf16_can_be_faster(images.device):
        return None
    return _Candidate(replace(plan, mode=ComputeMode("bf16")), 0.5, 0.4)


def _rewritten(plan: InferencePlan, model: nn.Module, images: Tensor) -> _Candidate | None:
    _, names = rewrite(model, images.shape[1:])
    return _Candidate(replace(_in_fast_layout(plan, model), rewrites=names), 0.5, 0.6) if names else None


def _channels_last(plan: InferencePlan, model: nn.Module, images: Tensor) -> _Candidate | None:
    fast_layout = _in_fast_layout(plan, model)
    return _Candidate(fast_layout, 0.5, 0.7) if fast_layout != plan else None


def _in_fast_layout(plan: InferencePlan, model: nn.Module) -> InferencePlan:
    """Channels last for pointwise convolutions. Without them, as in a Mixer or a DaViT, it makes no difference."""
    has_convolutions = any(
        isinstance(module, nn.Conv2d) and module.groups == 1 and module.stride == (1, 1) for module in model.modules()
    )
    return replace(plan, mode=replace(plan.mode, layout="channels_last")) if has_convolutions else plan


def _openvino(plan: InferencePlan, model: nn.Module, images: Tensor) -> _Candidate | None:
    is_available = all(find_spec(name) for name in OPENVINO_PACKAGES)
    if images.device.type != "cpu" or not is_available:
        return None
    converted = InferencePlan("openvino", ComputeMode(plan.mode.precision), batch=plan.batch)
    return _Candidate(converted, 6.0, 0.88 if plan.rewrites else 0.75)


def _compiled(plan: InferencePlan, model: nn.Module, images: Tensor) -> _Candidate | None:
    if plan.execution == "openvino" or images.device.type not in ("cpu", "cuda"):
        return None
    return _Candidate(replace(plan, execution="compiled"), 40.0, 0.8)


_CHANGES: tuple[_Change, ...] = (_reduced_precision, _rewritten, _channels_last, _openvino, _compiled)


def is_close(outputs: Outputs, reference: Outputs, tolerance: float) -> bool:
    """Whether no output differs from its reference by more than `tolerance` standard deviations of the reference."""
    return all(
        bool((output - expected).abs().max() <= tolerance * expected.std())
        for output, expected in zip(outputs, reference, strict=True)
    )


def _trial_batch(seconds_per_image: float) -> int:
    return min(_MAX_BATCH, max(_MIN_BATCH, int(_TRIAL_SECONDS / seconds_per_image)))
