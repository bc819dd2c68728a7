"""The plan: the candidate modes of each device, and the selection of the fastest."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mixlab.errors import UserError
from mixlab.measure import timing
from mixlab.speed.plan import (
    ComputeMode,
    Plan,
    candidates,
    pick_fastest,
    prepare_for_training,
    prepare_model,
    time_steps,
    writes_past_memory,
)
from mixlab.speed.rewrites.cuda_depthwise import DepthwiseKernel
from mixlab.speed.rewrites.depthwise import DepthwiseConv2d
from mixlab.speed.training_rewrites import TrainingRewrites

CPU, MPS = torch.device("cpu"), torch.device("mps")
STOCK = ComputeMode()


class Clock:
    """A simulated clock that only the steps advance."""

    def __init__(self) -> None:
        self.now = 0.0

    def step(self, *seconds: float):
        """A step that takes these seconds one after another, and the last value from then on."""
        remaining = list(seconds)

        def step() -> None:
            self.now += remaining.pop(0) if len(remaining) > 1 else remaining[0]

        return step


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    return clock


def test_a_mode_that_saves_more_than_five_per_cent_is_selected(clock):
    other = ComputeMode("bf16")
    seconds = time_steps({STOCK: clock.step(1.0), other: clock.step(0.94)})
    assert (pick_fastest(seconds), seconds[other]) == (other, pytest.approx(0.94))


def test_a_mode_that_saves_less_than_five_per_cent_is_not_selected(clock):
    seconds = time_steps({STOCK: clock.step(1.0), ComputeMode("bf16"): clock.step(0.96)})
    assert (pick_fastest(seconds), seconds[STOCK]) == (STOCK, pytest.approx(1.0))


def test_the_fastest_of_several_modes_is_selected(clock):
    modes = {
        STOCK: 1.0,
        ComputeMode("bf16"): 0.9,
        ComputeMode("fp32", "channels_last"): 0.5,
        ComputeMode("bf16", "channels_last"): 0.7,
    }
    assert pick_fastest(modes) == ComputeMode("fp32", "channels_last")


def test_a_kind_of_step_is_announced_before_its_turns(clock):
    announced: list[ComputeMode] = []
    other = ComputeMode("bf16")
    time_steps({STOCK: clock.step(1.0), other: clock.step(1.0)}, rounds=2, before=announced.append)
    assert announced == [STOCK, other, STOCK, other, other, STOCK]


def test_a_slow_first_step_and_one_slow_round_do_not_change_the_selection(clock):
    first_step_and_one_round_are_slow = clock.step(60.0, 0.5, 60.0, 0.5)
    seconds = time_steps({STOCK: clock.step(1.0), ComputeMode("bf16"): first_step_and_one_round_are_slow})
    assert (pick_fastest(seconds), seconds[ComputeMode("bf16")]) == (ComputeMode("bf16"), 0.5)


@pytest.mark.usefixtures("bf16_is_tried")
def test_the_candidates_are_two_precisions_in_two_layouts_and_start_with_the_stock_mode():
    assert candidates(CPU, "auto") == [
        ComputeMode("fp32", "contiguous"),
        ComputeMode("fp32", "channels_last"),
        ComputeMode("bf16", "contiguous"),
        ComputeMode("bf16", "channels_last"),
    ]


def test_bf16_is_a_candidate_on_a_processor_without_kernels_for_it_only_if_it_is_given(monkeypatch):
    monkeypatch.setattr("mixlab.speed.plan.has_bf16_kernels", lambda: False)
    assert candidates(CPU, "auto") == [ComputeMode("fp32", "contiguous"), ComputeMode("fp32", "channels_last")]
    assert {mode.precision for mode in candidates(CPU, "bf16")} == {"bf16"}


def test_fp32_is_the_only_candidate_on_mps():
    assert {mode.precision for mode in candidates(MPS, "auto")} == {"fp32"}


def test_a_given_precision_is_the_only_candidate():
    assert candidates(MPS, "bf16") == [ComputeMode("bf16", "contiguous"), ComputeMode("bf16", "channels_last")]


def test_fp16_on_a_cpu_is_an_error_that_lists_the_alternatives():
    with pytest.raises(
        UserError, match=r'precision="fp16" needs a GPU. On a CPU, set precision to "bf16", "fp32" or "auto"'
    ):
        candidates(CPU, "fp16")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_mode_computes_in_its_precision(precision):
    with ComputeMode(precision).autocast(CPU):
        assert nn.Linear(3, 2)(torch.zeros(1, 3)).dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


class _Operations(TorchDispatchMode):
    """The names of the operations that are computed within the context."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("rewrites", "fused"), [(TrainingRewrites(("unfused_attention",)), False), (TrainingRewrites(), True)]
)
def test_attention_is_unfused_only_with_this_execution(rewrites, fused):
    query = torch.randn(2, 1, 4, 8, requires_grad=True)
    with Plan("cpu", STOCK, 2, rewrites=rewrites).forward_context(CPU):
        mixed = nn.functional.scaled_dot_product_attention(query, query, query)
    with _Operations() as operations:
        mixed.sum().backward()
    assert any("flash_attention" in name for name in operations.names) == fused


@pytest.mark.parametrize(("rewrites", "kind"), [((), nn.Conv2d), (("split_depthwise",), DepthwiseConv2d)])
def test_a_model_is_prepared_with_the_rewrites_of_the_plan(rewrites, kind):
    convolution = nn.Conv2d(4, 4, 5, groups=4, padding="same")
    plan = Plan("cpu", STOCK, 2, rewrites=TrainingRewrites(rewrites))
    prepared = prepare_for_training(nn.Sequential(convolution), CPU, plan, 2)
    assert [type(module) for module in prepared.children()] == [kind]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_prepare_model_converts_kernels_to_the_mode_s_layout(layout):
    mode = ComputeMode("fp32", layout)
    model = prepare_model(nn.Conv2d(3, 4, 3), CPU, mode)
    assert next(model.parameters()).is_contiguous(memory_format=mode.memory_format)


def test_a_plan_survives_a_round_trip_through_its_dict():
    kernels: tuple[tuple[str, DepthwiseKernel], ...] = (("64x5x5", "triton"), ("64x3x3", "native"))
    rewrites = TrainingRewrites(("fused_convmixer", "unfused_attention"), "c++ 12, -O3, 0123456789ab", kernels)
    mode = ComputeMode("bf16", "channels_last")
    plan = Plan("cpu", mode, 32, 2, "retained", concurrent=4, threads=3, rewrites=rewrites)
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_fields_that_an_older_plan_lacks_get_their_defaults():
    stored = {"device": "cpu", "micro_batch": 8, "kernels": "stock", "precision": "fp32", "layout": "contiguous"}
    assert Plan.from_dict(stored) == Plan("cpu", ComputeMode(), 8, processes=1, freed_memory="released")


def test_a_mode_as_text():
    assert str(ComputeMode("bf16", "channels_last")) == "bf16, channels last"


def test_a_plan_as_text():
    plan = Plan("cpu", ComputeMode("bf16"), 8, rewrites=TrainingRewrites(("fused_convmixer",), "c++"))
    assert str(plan) == "bf16, contiguous, fused convmixer"
    rewrites = TrainingRewrites(("compiled",), depthwise=(("8x3x3", "triton"), ("9x3x3", "triton"), ("8x5x5", "cudnn")))
    plan = Plan("cuda", ComputeMode(), 8, rewrites=rewrites)
    assert str(plan) == "fp32, contiguous, triton depthwise, cudnn depthwise, compiled"


@pytest.mark.parametrize(
    ("convolution", "expected"),
    [
        (nn.Conv2d(15, 32, kernel_size=1, stride=2), True),
        (nn.Conv2d(16, 32, kernel_size=1, stride=2), False),
        (nn.Conv2d(16, 32, kernel_size=1, stride=2, groups=2), True),
        (nn.Conv2d(8, 32, kernel_size=1), False),
        (nn.Conv2d(8, 32, kernel_size=2, stride=2), False),
    ],
    ids=str,
)
def test_a_strided_projection_of_few_channels_writes_past_memory_in_fp32_and_channels_last(convolution, expected):
    network = nn.Sequential(convolution)
    assert writes_past_memory(ComputeMode("fp32", "channels_last"), network) is expected
    assert not any(writes_past_memory(mode, network) for mode in candidates(CPU, "auto") if mode.layout == "contiguous")
    assert not writes_past_memory(ComputeMode("bf16", "channels_last"), network)


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("micro_batch", [1, 4, 16])
def test_all_processes_have_equally_many_micro_batches_and_none_is_empty(processes, micro_batch):
    plan = Plan("cpu", STOCK, micro_batch, processes=processes)
    for images in range(1, 70):
        shares = [max(len(share), 1) for share in np.array_split(range(images), processes)]
        count = plan.micro_batches(images / processes)
        assert 1 <= count <= min(shares)
        assert count * micro_batch >= max(shares) or count == min(shares)
        assert plan.images_per_pass(images) == -(-max(shares) // count)
