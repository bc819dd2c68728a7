"""The rewrites that autotuning times beside the stock steps, and those that it selects."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mixlab.models.mixer import MixerBlock
from mixlab.speed import training_rewrites
from mixlab.speed.kernels.library import Kernels, KernelsUnavailableError, kernels
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.speed.training_rewrites import TrainingRewrites
from mixlab.training.planning import autotune, timed_rewrites
from mixlab.training.planning.autotune import select_common_plans, select_plan, time_job
from mixlab.zoo.user_code import trust_code

pytestmark = pytest.mark.usefixtures("bf16_is_tried", "short_steps", "timed_at_length")


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


def test_a_mode_that_is_clearly_faster_only_with_rewrites_is_selected_with_them(make_job, monkeypatch):
    def time_steps(steps: dict[Plan, Any], **_: Any) -> dict[Plan, float]:
        seconds = {("fp32", False): 1.0, ("fp32", True): 1.2, ("bf16", False): 0.955, ("bf16", True): 0.91}
        return {plan: seconds[plan.mode.precision, bool(plan.rewrites.names)] for plan in steps}

    monkeypatch.setattr(autotune, "time_steps", time_steps)
    plan, seconds = select_plan(make_job("speed=auto", *CONVMIXER), no_message)
    assert (plan.mode.precision, bool(plan.rewrites.names), seconds) == ("bf16", True, 0.91)


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

    for module in (timed_rewrites, training_rewrites):
        monkeypatch.setattr(module, "kernels", unavailable)
    timed.clear()
    plan, _ = select_plan(job, [].append)
    assert timed and plan.rewrites == TrainingRewrites(("split_depthwise",))


def unavailable() -> Kernels:
    raise KernelsUnavailableError("no C++ compiler was found")


@pytest.mark.parametrize("plans", [1, 9], ids=["incomplete", "complete"])
def test_rewrites_are_timed_again_once_their_kernels_are_available(make_job, timed, monkeypatch, plans):
    """As after the installation of a compiler."""
    job = make_job("speed=auto", LONG, *CONVMIXER)
    monkeypatch.setattr(autotune, "affordable", lambda kinds, calls: (min(plans, kinds), 1))
    with monkeypatch.context() as without_compiler:
        without_compiler.setattr(timed_rewrites, "kernels", unavailable)
        first, _ = select_plan(job, [].append)
        timed.clear()
        assert select_plan(job, [].append)[0] == first and not timed
    monkeypatch.setattr(autotune, "affordable", lambda kinds, calls: (kinds, 1))
    assert select_plan(job, [].append)[0].rewrites.names == ("fused_convmixer",)


def test_kernels_that_a_short_training_does_not_need_are_not_looked_for_in_the_cache(make_job, timed, monkeypatch):
    monkeypatch.setattr(timed_rewrites, "kernels", None)
    for _ in range(2):
        select_plan(make_job("speed=auto", *CONVMIXER), [].append)


OWN_BLOCKS = """
from torch import nn
from mixlab.models.convmixer import ConvMixer, ConvMixerConfig


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.mix = nn.Conv2d(config.channels, config.channels, 5, groups=config.channels, padding="same")

    def forward(self, x):
        return x + self.mix(x)


class Mine(ConvMixer):
    def __init__(self, config: ConvMixerConfig):
        super().__init__(config)
        self.body = nn.Sequential(Block(config))
"""


def test_a_convmixer_with_blocks_of_the_user_has_the_rewrites_of_other_models(make_job, timed, tmp_path):
    (tmp_path / "mine.py").write_text(OWN_BLOCKS)
    trust_code(tmp_path / "mine.py")
    time_job(make_job("speed=auto", LONG, *CONVMIXER, f"model=py:{tmp_path / 'mine.py'}:Mine"), no_message)
    assert {names for _, names in timed} == {(), ("native_depthwise", "native_gelu")}


def add_parameter(block: MixerBlock) -> None:
    block.register_parameter("scale", nn.Parameter(torch.ones(1)))


def rename_mlp(block: MixerBlock) -> None:
    block.mix_tokens = block.token_mlp
    del block.token_mlp


def scaled(block: MixerBlock, x: Tensor) -> Tensor:
    return block.scale * (x + block.token_mlp(block.token_norm(x).mT).mT)


def renamed(block: Any, x: Tensor) -> Tensor:
    return x + block.mix_tokens(block.token_norm(x).mT).mT


@pytest.mark.parametrize(
    ("edit", "forward", "reason"),
    [
        (add_parameter, scaled, "its results are not those of PyTorch"),
        (rename_mlp, renamed, "AttributeError: 'MixerBlock' object has no attribute 'token_mlp'"),
    ],
)
def test_a_block_that_was_edited_in_its_file_is_trained_as_it_is(make_job, timed, monkeypatch, edit, forward, reason):
    stock = MixerBlock.__init__

    def edited(block: MixerBlock, *given: Any) -> None:
        stock(block, *given)
        edit(block)

    monkeypatch.setattr(MixerBlock, "__init__", edited)
    monkeypatch.setattr(MixerBlock, "forward", forward)
    messages: list[str] = []
    time_job(make_job("speed=auto", LONG, *MIXER), messages.append)
    assert messages[0] == f"untransposed_mixer, native_gelu in fp32, contiguous is not used: {reason}."
    assert {names for _, names in timed} == {()}


def test_a_lack_of_memory_while_rewrites_are_compared_halves_the_micro_batch(make_job, timed, monkeypatch):
    errors = [MemoryError()]

    def compare(*given: Any) -> bool:
        if errors:
            raise errors.pop()
        return True

    monkeypatch.setattr(timed_rewrites, "equals_stock", compare)
    assert time_job(make_job("speed=auto", *CONVMIXER), [].append).micro_batch == 4


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
