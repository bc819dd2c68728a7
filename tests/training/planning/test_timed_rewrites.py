"""The rewrites that autotuning times beside the stock steps, and those that it selects."""

from typing import Any

import pytest

from mixlab.speed import training_rewrites
from mixlab.speed.kernels.library import KernelsUnavailableError, kernels
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.speed.training_rewrites import TrainingRewrites
from mixlab.training.planning import autotune, timed_rewrites
from mixlab.training.planning.autotune import select_common_plans, select_plan, time_job

pytestmark = pytest.mark.usefixtures("short_steps", "timed_at_length")


def no_message(message: str) -> None:
    raise AssertionError(f"expected no message, but got: {message}")


CONVMIXER = (
    "model=convmixer_nano",
    "config={patch_size = 4, kernel_size = 5, channels = 8, depth = 1}",
)
DAVIT = (
    "model=davit_nano",
    "config={channels = [8, 16], depths = [1, 1], heads = [1, 2], window = 2}",
    "image_size=16",
)
TIMM = (
    "model=timm:vit_tiny_patch16_224",
    "config={embed_dim=8, depth=2, num_heads=1, patch_size=8}",
)
MIXER = ("model=mixer_nano", "config={depth = 1}")

LONG = "steps=100000"  # a training for which the native kernels are compiled


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...]]]:
    """The (precision, rewrites) that are timed. In bf16, other rewrites are only slightly faster."""
    kinds: list[tuple[str, tuple[str, ...]]] = []

    def time_steps(steps: dict[Plan, Any], *, rounds: int, before: Any) -> dict[Plan, float]:
        for plan, step in steps.items():
            before(plan)
            step()
        kinds.extend((p.mode.precision, p.rewrites.names) for p in steps if p.mode.layout == "contiguous")
        seconds = {("fp32", False): 1.0, ("fp32", True): 0.4, ("bf16", False): 0.6, ("bf16", True): 0.59}
        return {plan: seconds[plan.mode.precision, bool(plan.rewrites.names)] for plan in steps}

    monkeypatch.setattr(autotune, "time_steps", time_steps)
    return kinds


def test_rewrites_are_selected_if_they_are_faster(make_job, timed):
    job = make_job("speed=auto", *CONVMIXER)
    timings = time_job(job, no_message)
    assert {mode.precision: timings.seconds[mode] for mode in timings.seconds} == {"fp32": 0.4, "bf16": 0.6}
    plan, seconds = select_plan(job, no_message)  # no message: time_job itself does not write the cache
    assert (plan.mode, plan.rewrites, seconds) == (ComputeMode(), TrainingRewrites(("split_depthwise",)), 0.4)
    assert timings.plan(job, ComputeMode("bf16")).rewrites == TrainingRewrites()


@pytest.mark.usefixtures("timed")
def test_rewrites_are_stored_with_the_timings(make_job, monkeypatch):
    job = make_job("speed=auto", LONG, *CONVMIXER)
    first = select_common_plans([job], no_message)
    monkeypatch.delattr(autotune, "time_job")
    assert select_common_plans([job], lambda message: None) == first
    assert first[0][0].rewrites == TrainingRewrites(("fused_convmixer",), kernels().build)


def test_rewrites_are_timed_again_if_their_kernels_are_not_available_any_more(make_job, timed, monkeypatch):
    job = make_job("speed=auto", LONG, *CONVMIXER)
    select_plan(job, no_message)

    def unavailable() -> None:
        raise KernelsUnavailableError("no C++ compiler was found")

    for module in (timed_rewrites, training_rewrites):
        monkeypatch.setattr(module, "kernels", unavailable)
    timed.clear()
    plan, _ = select_plan(job, [].append)
    assert timed and plan.rewrites == TrainingRewrites(("split_depthwise",))


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        (CONVMIXER, {("fp32", ("split_depthwise",)), ("bf16", ("split_depthwise",))}),
        ((LONG, *CONVMIXER), {("fp32", ("fused_convmixer",)), ("bf16", ("fused_convmixer",))}),
        (DAVIT, {("bf16", ("unfused_attention",))}),
        ((LONG, *DAVIT), {("fp32", ("native_gelu",)), ("bf16", ("native_gelu", "unfused_attention"))}),
        ((LONG, *MIXER), {(name, ("untransposed_mixer", "native_gelu")) for name in ("fp32", "bf16")}),
        ((), set()),
    ],
)
def test_rewrites_depend_on_the_model_the_precision_and_the_length_of_the_training(make_job, timed, settings, kinds):
    time_job(make_job("speed=auto", *settings), no_message)
    assert sorted(timed) == sorted({("fp32", ()), ("bf16", ())} | kinds)


def test_the_attention_of_a_model_of_timm_stays_fused_if_its_blocks_are_computed_again(make_job, timed):
    time_job(make_job("speed=auto", *TIMM, "activation_checkpointing=blocks"), no_message)
    assert timed == [("fp32", ()), ("bf16", ())]
    timed.clear()
    time_job(make_job("speed=auto", *TIMM), no_message)
    assert ("bf16", ("unfused_attention",)) in timed


def test_with_speed_off_only_stock_steps_are_timed(make_job, timed):
    time_job(make_job("speed=off", LONG, *CONVMIXER), no_message)
    assert timed == [("fp32", ())]


def test_without_a_compiler_the_reason_is_said_once_and_other_rewrites_are_timed(make_job, timed, monkeypatch):
    def unavailable() -> None:
        raise KernelsUnavailableError("no C++ compiler was found")

    monkeypatch.setattr(timed_rewrites, "kernels", unavailable)
    messages: list[str] = []
    time_job(make_job("speed=auto", LONG, *CONVMIXER), messages.append)
    assert ("fp32", ("split_depthwise",)) in timed
    assert messages == [
        "The native kernels are not used: no C++ compiler was found. Install a C++ compiler such as g++ for faster "
        "training steps."
    ]


def test_rewrites_with_other_results_are_not_timed(make_job, timed, monkeypatch):
    monkeypatch.setattr(timed_rewrites, "equals_stock", lambda *given: False)
    messages: list[str] = []
    time_job(make_job("speed=auto", *CONVMIXER), messages.append)
    assert sorted(timed) == [("bf16", ()), ("fp32", ())]
    assert messages[0] == "split_depthwise in fp32, contiguous is not used: its results are not those of PyTorch."
