"""Compiled steps are used in long trainings, if they are faster and equal to eager ones."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mixlab.speed.plan import ComputeMode, Plan
from mixlab.speed.rewrites.cuda_depthwise import DepthwiseKernel, use_kernels
from mixlab.speed.training_rewrites import TrainingRewrites
from mixlab.training.job import Job
from mixlab.training.planning import autotune, compilation
from mixlab.training.planning.autotune import select_plan
from mixlab.training.planning.compilation import may_compile, time_compilation
from mixlab.training.planning.timings import Compilation, Timings
from mixlab.zoo.architecture import create_model

MODE = ComputeMode("bf16", "channels_last")
PLAN = Plan("cuda", MODE, 4, rewrites=TrainingRewrites(depthwise=(("16x5x5", "triton"),)))
TIMINGS = Timings(8, "released", {ComputeMode(): 0.2, MODE: 0.1}, {MODE: PLAN.rewrites}, Compilation(MODE, 50.0, 0.5))


@pytest.fixture
def on_cuda(make_job) -> Callable[..., Job]:
    """A job for a CUDA device, which is only described."""
    return lambda *settings: replace(make_job("speed=auto", *settings), device=torch.device("cuda"))


class TestLength:
    @pytest.mark.parametrize(("steps", "is_compiled"), [(9_999, False), (10_001, True)])
    def test_a_training_must_take_twenty_times_as_long_as_the_compilation(self, steps, is_compiled):
        """Fifty seconds, and 0.1 seconds a step in eager mode."""
        timings = TIMINGS.for_training(steps)
        assert timings.seconds[MODE] == (0.05 if is_compiled else 0.1)
        assert ("compiled" in timings.rewrites[MODE].names) is is_compiled
        assert timings.rewrites[MODE].depthwise == PLAN.rewrites.depthwise
        assert timings.seconds[ComputeMode()] == 0.2

    @pytest.mark.parametrize(
        "tried", [None, Compilation(MODE, 50.0, 0.97), Compilation(MODE, 50.0, None), Compilation(MODE, None, None)]
    )
    def test_steps_that_are_not_faster_or_not_equal_are_not_used(self, tried):
        timings = replace(TIMINGS, compilation=tried).for_training(10**9)
        assert (timings.seconds, timings.rewrites) == (TIMINGS.seconds, TIMINGS.rewrites)

    @pytest.mark.parametrize(("seconds", "found"), [(199.0, False), (201.0, True)])
    def test_steps_are_compiled_to_measure_the_compilation_if_ten_seconds_would_pay(self, on_cuda, seconds, found):
        assert may_compile(on_cuda(), 1, seconds) is found

    def test_several_processes_activation_checkpointing_and_other_devices_are_not_compiled(self, on_cuda, make_job):
        assert not may_compile(on_cuda(), 2, 1e6)
        assert not may_compile(on_cuda("activation_checkpointing=blocks"), 1, 1e6)
        assert not may_compile(make_job("speed=auto"), 1, 1e6)


@pytest.mark.parametrize("tried", [None, Compilation(MODE, 50.0, 0.5), Compilation(MODE)])
def test_timings_survive_a_round_trip_through_their_dict(tried):
    timings = Timings(8, "retained", {ComputeMode(): 0.2}, {ComputeMode(): PLAN.rewrites}, tried)
    assert Timings.from_dict(json.loads(json.dumps(timings.to_dict()))) == timings


class TestEquality:
    """The compiler is a function that is passed in."""

    @staticmethod
    def times(
        compile_model: Callable[[nn.Module, int], nn.Module], mode: ComputeMode = MODE
    ) -> tuple[Compilation, list[str], list[tuple[str, ...]]]:
        torch.manual_seed(0)
        model = create_model("convmixer_nano", channels=16, depth=2, classes=3)
        messages: list[str] = []
        timed: list[tuple[str, ...]] = []

        def make_steps(models: Mapping[Plan, nn.Module]) -> dict[Plan, Callable[[], object]]:
            timed.extend(plan.rewrites.names for plan in models)
            eager, compiled = models.values()
            assert list(map(id, eager.parameters())) == list(map(id, compiled.parameters()))
            return {plan: partial(model, images) for plan, model in models.items()}

        images = torch.randn(4, 3, 32, 32)
        plan = replace(PLAN, device="cpu", mode=mode)
        return time_compilation(model, images, plan, make_steps, messages.append, compile_model), messages, timed

    @pytest.mark.parametrize("mode", [ComputeMode(), MODE], ids=str)
    def test_equal_steps_are_timed_beside_eager_ones_and_the_time_of_the_compilation_is_said(self, mode, monkeypatch):
        monkeypatch.setattr(compilation, "seconds_per_call", lambda step: (step(), 31.0)[1])
        monkeypatch.setattr(
            compilation, "time_steps", lambda steps: {plan: 0.5 ** len(plan.rewrites.names) for plan in steps}
        )
        found, messages, timed = self.times(lambda model, images: model, mode)
        assert timed == [(), ("compiled",)]
        assert found == Compilation(mode, 31.0, 0.5)
        assert messages == [
            f"torch.compile took 31 s for the training steps in {mode}, triton depthwise.",
            "A compiled step takes 50 % of the time in eager mode.",
        ]

    @staticmethod
    def with_wrong_outputs(model: nn.Module, images: int) -> nn.Module:
        model.get_submodule("head").register_forward_hook(lambda module, given, logits: logits.mul(1.1))
        return model

    @staticmethod
    def with_a_wrong_gradient(model: nn.Module, images: int) -> nn.Module:
        """The outputs are equal, and the gradient of a single bias has the wrong sign."""
        head = model.get_submodule("head")
        bias = head.get_parameter("bias")

        def with_another_path(module: nn.Module, given: tuple[Tensor, ...], logits: Tensor) -> Tensor:
            return logits + 2 * (bias.detach() - bias)

        head.register_forward_hook(with_another_path)
        return model

    @pytest.mark.parametrize("mode", [ComputeMode(), MODE], ids=str)
    @pytest.mark.parametrize("compile_model", [with_wrong_outputs, with_a_wrong_gradient])
    def test_steps_with_other_results_are_not_used(self, compile_model, mode):
        found, messages, timed = self.times(compile_model, mode)
        assert (found.relative_time, timed) == (None, [])
        assert messages[-1] == (
            "torch.compile is not used: the compiled steps have other results than those in eager mode."
        )

    def test_compiled_steps_that_fail_while_they_are_timed_are_not_used(self, monkeypatch):
        def failing(steps: Mapping[Plan, object]) -> None:
            raise torch.OutOfMemoryError("no memory for a second optimizer state")

        monkeypatch.setattr(compilation, "time_steps", failing)
        found, messages, _ = self.times(lambda model, images: model)
        assert found == Compilation(MODE)
        assert messages[-1] == ("torch.compile is not used: OutOfMemoryError: no memory for a second optimizer state")

    def test_a_compiler_that_fails_is_not_used_and_the_message_has_its_reason(self):
        def failing(model: nn.Module, images: int) -> nn.Module:
            def forward(images: Any) -> None:
                raise NotImplementedError("no lowering\nof an operation")

            model.forward = forward
            return model

        found, messages, _ = self.times(failing)
        assert found == Compilation(MODE)
        assert messages == ["torch.compile is not used: NotImplementedError: no lowering"]

    def test_weights_that_are_zero_do_not_hide_wrong_gradients(self):
        torch.manual_seed(0)
        model = create_model("mixer_nano", depth=1, classes=3)
        assert not model.get_submodule("head").get_parameter("weight").any()

        def wrong(model: nn.Module, images: int) -> nn.Module:
            model.get_submodule("stem").register_full_backward_pre_hook(lambda module, gradients: (-gradients[0],))
            return model

        plan = Plan("cpu", ComputeMode(), 4)
        found = time_compilation(model, torch.randn(4, 3, 32, 32), plan, lambda models: {}, [].append, wrong)
        assert found.relative_time is None


@pytest.mark.long
@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(
    ("model", "fields", "precision"),
    [
        ("convmixer_nano", {"channels": 16, "depth": 2}, "bf16"),
        ("mixer_nano", {"depth": 2, "stochastic_depth": 0.3}, "fp32"),
    ],
)
def test_what_torch_compile_makes_of_a_model_is_equal(model, fields, precision):
    torch.compiler.reset()
    network = create_model(model, classes=3, **fields)
    kernels: dict[str, DepthwiseKernel] = (
        {"16x5x5": "native"} if hasattr(torch.backends.cudnn, "depthwise_kernel") else {}
    )
    plan = Plan("cpu", ComputeMode(precision), 4)
    messages: list[str] = []
    found = time_compilation(
        use_kernels(network, kernels),
        torch.randn(4, 3, 32, 32),
        plan,
        lambda models: {plan: partial(model, torch.randn(4, 3, 32, 32)) for plan, model in models.items()},
        messages.append,
    )
    assert found.relative_time is not None, messages


def test_steps_are_compiled_for_the_images_of_their_passes(make_job, monkeypatch):
    """Eight images with micro-batches of five are two passes of four."""
    counts: list[int] = []

    def compile_model(model: nn.Module, count: int) -> nn.Module:
        counts.append(count)
        model.register_forward_pre_hook(lambda module, given: counts.append(len(given[0])))
        return model

    monkeypatch.setattr(autotune, "time_compilation", partial(time_compilation, compile_model=compile_model))
    timings = Timings(5, "released", {ComputeMode(): 0.1})
    assert autotune._time_compilation(make_job(), timings, [].append).relative_time is not None
    assert len(counts) > 3 and {*counts} == {4}


class TestSelection:
    @pytest.fixture
    def tried(self, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
        """The plans whose steps are compiled, in fifty seconds, to half of their time."""
        plans: list[Plan] = []

        def time_compiled(job: Job, timings: Timings, log: Any) -> Compilation:
            mode = min(timings.seconds, key=timings.seconds.__getitem__)
            plans.append(timings.plan(job, mode))
            return Compilation(mode, 50.0, 0.5)

        eager = replace(TIMINGS, compilation=None)
        monkeypatch.setattr(autotune, "time_job", lambda job, log, processes=1: eager)
        monkeypatch.setattr(autotune, "_time_compilation", time_compiled)
        monkeypatch.setattr(autotune, "device_name", lambda device: "a GPU")
        monkeypatch.setattr(autotune, "has_memory", lambda *given: True)
        return plans

    def test_a_long_training_is_compiled_and_other_seeds_have_the_same_plan(self, on_cuda, tried):
        plan, seconds = select_plan(on_cuda("steps=20000"), [].append)
        assert (str(plan), seconds) == ("bf16, channels last, triton depthwise, compiled", 0.05)
        assert select_plan(on_cuda("steps=20000", "seed=5"), [].append) == (plan, seconds)
        assert [str(plan) for plan in tried] == ["bf16, channels last, triton depthwise"]

    def test_a_shorter_training_of_the_same_steps_is_not_compiled(self, on_cuda, tried):
        select_plan(on_cuda("steps=20000"), [].append)
        plan, seconds = select_plan(on_cuda("steps=500"), [].append)
        assert ("compiled" in plan.rewrites.names, seconds) == (False, 0.1)

    def test_timings_of_a_short_training_do_not_prevent_compilation_in_a_long_one(self, on_cuda, tried):
        select_plan(on_cuda("steps=500"), [].append)
        assert not tried
        plan, _ = select_plan(on_cuda("steps=20000"), [].append)
        assert "compiled" in plan.rewrites.names
