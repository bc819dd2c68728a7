"""The plan of an inference job: stock for short jobs, the fastest accurate one for long jobs, from the cache the second
time."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.models.mlp import Mlp
from mixlab.speed import inference as module
from mixlab.speed import inference_timings
from mixlab.speed.inference import Inference, is_close
from mixlab.speed.inference_plan import STOCK, InferencePlan, build_forward, parse_speed
from mixlab.speed.inference_timings import Timing, Timings
from mixlab.speed.plan import ComputeMode
from mixlab.speed.rewrites import packed_linear
from mixlab.zoo.architecture import create_model

pytestmark = pytest.mark.usefixtures("bf16_is_tried")

CPU = torch.device("cpu")
BF16 = ComputeMode("bf16")


def small_mixer() -> nn.Module:
    model = create_model("mixer_nano", depth=1, channels=16, token_hidden=8, channel_hidden=32).eval()
    nn.init.normal_(model.get_parameter("head.weight"))
    return model


@pytest.fixture
def images() -> Tensor:
    return torch.randn(8, 3, 32, 32)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The plans that are built. Every job is long, the cache is empty, and a call takes as long as the test says."""
    plans: list[str] = []

    def build(model: nn.Module, plan: InferencePlan, image_shape: object, key: object) -> Callable[[Tensor], object]:
        plans.append(str(plan))
        return build_forward(model, replace_openvino(plan), (3, 32, 32))

    def replace_openvino(plan: InferencePlan) -> InferencePlan:
        return InferencePlan(mode=plan.mode) if plan.execution == "openvino" else plan

    monkeypatch.setattr(module, "_SHORT", 0.0)
    monkeypatch.setattr(inference_timings, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(module, "build_forward", build)
    return plans


def take(monkeypatch: pytest.MonkeyPatch, built: list[str], seconds: dict[str, float]) -> None:
    """Let a plan take these seconds per image; the stock plan takes 1."""

    def time(self: module._Selection, forward: object, best: module._Built) -> tuple[float, float]:
        return 1.0, seconds.get(built[-1], 1.0) / best.timing.per_image

    monkeypatch.setattr(module._Selection, "_time", time)
    get = Timings.get

    def known(self: Timings, plan: InferencePlan) -> Timing | None:
        return Timing(0.0, 1.0) if str(plan) == str(STOCK) else get(self, plan)

    monkeypatch.setattr(Timings, "get", known)


def test_a_short_job_runs_under_the_stock_plan(images: Tensor):
    model = small_mixer()
    inference = Inference(model, CPU, speed="auto")
    inference.plan_for(images, 1_000_000)  # the fixture of all tests makes every job short
    assert inference.plan == STOCK
    assert torch.equal(inference(images)[0], model(images))


def test_a_short_job_is_measured_once(images: Tensor):
    model = small_mixer()
    inference, passes = Inference(model, CPU, speed="auto"), []
    model.register_forward_hook(lambda *_: passes.append(1))
    for _ in range(3):
        inference.plan_for(images, 24)
    assert len(passes) == 1


@pytest.mark.parametrize(("of_an_image", "batches"), [(1.0, [1, 1]), (0.001, [1, 1, 8])])
def test_a_slow_model_is_measured_with_single_images(
    images: Tensor, monkeypatch: pytest.MonkeyPatch, of_an_image: float, batches: list[int]
):
    measured: list[int] = []

    def seconds(call: Callable[[], Tensor]) -> float:
        measured.append(len(call()))
        return of_an_image * measured[-1]

    monkeypatch.setattr(module, "seconds_per_call", seconds)

    def select(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(module, "_SHORT", 0.5)
    monkeypatch.setattr(module, "_Selection", select)
    with pytest.raises(InterruptedError):
        Inference(small_mixer(), CPU, speed="auto").plan_for(images, 1_000)
    assert measured == batches


def test_a_long_job_after_a_short_one_gets_a_plan(images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch):
    take(monkeypatch, built, {"eager, bf16, contiguous": 0.5})
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    inference = Inference(small_mixer(), CPU, speed="auto")
    monkeypatch.setattr(module, "_SHORT", 1e9)
    inference.plan_for(images, 10)
    assert built == []
    monkeypatch.setattr(module, "_SHORT", 0.0)
    inference.plan_for(images, 10)
    assert inference.plan.mode == BF16


def test_the_time_of_the_stock_plan_is_not_that_of_its_first_call(
    images: Tensor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The first call of a batch allocates memory, and selects algorithms on a GPU."""
    calls: list[str] = []
    model = small_mixer()
    model.register_forward_hook(lambda *_: calls.append("call"))

    def seconds(call: Callable[[], object]) -> float:
        call()
        return float(len(calls))

    monkeypatch.setattr(module, "seconds_per_call", seconds)
    selection = module._Selection(model, images, 100, Timings(tmp_path / "timings.json", batch=8), (), None, [].append)
    assert selection.stock.per_image == 2 / 8


def test_without_speed_nothing_is_measured(images: Tensor, built: list[str]):
    inference = Inference(small_mixer(), CPU)
    inference.plan_for(images, 1_000_000)
    assert (inference.plan, built) == (STOCK, [])


def test_the_fastest_plan_is_selected_step_by_step(images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch):
    fast = "eager, bf16, contiguous, packed linear layers"
    take(monkeypatch, built, {"eager, bf16, contiguous": 0.5, fast: 0.4})
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    lines: list[str] = []
    inference = Inference(small_mixer(), CPU, speed="auto", log=lines.append)
    inference.plan_for(images, 200)
    assert str(inference.plan) == fast
    assert built == ["eager, bf16, contiguous", fast], "compiling takes too long"
    assert lines == [f"Inference: {fast}; 2.5 images/s, eager in fp32: 1."]


def test_no_plan_is_selected_that_saves_less_than_five_per_cent(
    images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch
):
    take(monkeypatch, built, {"eager, bf16, contiguous": 0.96})
    inference = Inference(small_mixer(), CPU, speed="auto")
    inference.plan_for(images, 10)
    assert (inference.plan.execution, inference.plan.mode) == ("eager", ComputeMode())


def test_a_long_job_is_tried_in_openvino(images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch):
    take(monkeypatch, built, {"OpenVINO, fp32": 0.5})
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    inference = Inference(small_mixer(), CPU, speed="auto")
    inference.plan_for(images, 1_000)
    assert inference.plan.execution == "openvino"


@pytest.mark.parametrize("rewritten", [0.4, 1.0])
def test_openvino_is_tried_later_if_rewritten_modules_are_faster(
    images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch, rewritten: float
):
    packed = "eager, bf16, contiguous, packed linear layers"
    take(monkeypatch, built, {"eager, bf16, contiguous": 0.5, packed: rewritten})
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    Inference(small_mixer(), CPU, speed="auto").plan_for(images, 100)
    assert ("OpenVINO, bf16" in built) == (rewritten == 1.0)


def test_timings_in_the_cache_are_not_measured_again(
    images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    take(monkeypatch, built, {"eager, bf16, contiguous": 0.5})
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    Inference(small_mixer(), CPU, speed="auto").plan_for(images, 10)
    (file,) = (tmp_path / "timings").iterdir()
    timings = json.loads(file.read_text())
    assert timings["plans"]["eager, bf16, contiguous"]["per_image"] == 0.5
    built.clear()
    inference = Inference(small_mixer(), CPU, speed="auto")
    inference.plan_for(images, 10)
    assert (inference.plan.mode, built) == (BF16, ["eager, bf16, contiguous"]), "only what is used is built"


def test_a_plan_with_other_outputs_is_not_selected(images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch):
    take(monkeypatch, built, {"eager, bf16, contiguous": 0.1})
    monkeypatch.setattr(module, "TOLERANCES", {"fp32": 1e-3, "bf16": 1e-6})
    lines: list[str] = []
    inference = Inference(small_mixer(), CPU, speed="auto", log=lines.append)
    inference.plan_for(images, 20)
    assert inference.plan.mode.precision == "fp32"
    reason = "its outputs are not those of PyTorch in fp32."
    assert f"Inference under eager, bf16, contiguous is not used: {reason}" in lines


def test_only_plans_of_the_given_precisions_are_tried(
    images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch
):
    take(monkeypatch, built, {"eager, bf16, contiguous": 0.1, "OpenVINO, fp32": 0.5})
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    inference = Inference(small_mixer(), CPU, speed="auto", precisions=("fp32",))
    inference.plan_for(images, 1_000)
    assert str(inference.plan) == "OpenVINO, fp32"
    assert not any("bf16" in plan for plan in built)


def test_bf16_is_not_tried_on_a_processor_without_kernels_for_it(
    images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "bf16_can_be_faster", lambda device: False)
    take(monkeypatch, built, {"eager, bf16, contiguous": 0.1, "OpenVINO, fp32": 0.5})
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    inference = Inference(small_mixer(), CPU, speed="auto")
    inference.plan_for(images, 1_000)
    assert str(inference.plan) == "OpenVINO, fp32"
    assert not any("bf16" in plan for plan in built)


def test_a_plan_with_other_outputs_is_dropped_for_the_one_before_also_with_timings_from_the_cache(
    images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch
):
    take(monkeypatch, built, {"eager, bf16, contiguous": 0.5, "OpenVINO, bf16": 0.1})
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    Inference(small_mixer(), CPU, speed="auto").plan_for(images, 1_000)
    built.clear()
    monkeypatch.setattr(module, "is_close", lambda *_: built[-1] != "OpenVINO, bf16")
    inference = Inference(small_mixer(), CPU, speed="auto")
    inference.plan_for(images, 1_000)
    assert (str(inference.plan), built) == ("eager, bf16, contiguous", ["OpenVINO, bf16", "eager, bf16, contiguous"])


def test_a_converted_model_is_tried_for_shorter_jobs(images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch):
    take(monkeypatch, built, {"OpenVINO, bf16": 0.3, "eager, bf16, contiguous": 0.9})
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    for is_converted, expected in ((False, "eager, bf16, contiguous"), (True, "OpenVINO, bf16")):
        monkeypatch.setattr(module, "is_cached", lambda key, is_converted=is_converted: is_converted)
        inference = Inference(small_mixer(), CPU, speed="auto", key=lambda: {"model": 1})
        inference.plan_for(images, 12)
        assert str(inference.plan) == expected


def test_a_model_that_fails_in_a_plan_keeps_the_other_one(
    images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch
):
    take(monkeypatch, built, {})

    class NeedsFp32(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, images: Tensor) -> Tensor:
            assert images.dtype == self.weight.dtype == torch.float32
            return images.mean((2, 3)) * self.weight

    lines: list[str] = []
    inference = Inference(NeedsFp32(), CPU, speed="auto", log=lines.append)
    inference.plan_for(images, 20)
    assert inference.plan.mode.precision == "fp32"
    assert lines[0].startswith("Inference under eager, bf16, contiguous is not used: AssertionError: ")


def test_a_model_whose_modules_can_not_be_rewritten_has_other_plans(
    images: Tensor, built: list[str], monkeypatch: pytest.MonkeyPatch
):
    take(monkeypatch, built, {"eager, bf16, contiguous": 0.5})
    monkeypatch.setattr(module, "find_spec", lambda name: None)

    class Renamed(Mlp):
        def __init__(self) -> None:
            super().__init__(8, 8, "erf")
            self.last = self.second
            del self.second

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.activation(self.first(x.mean((1, 2))[:, :8])))

    monkeypatch.setattr(packed_linear, "Mlp", Renamed)  # as if it was edited in its file
    lines: list[str] = []
    inference = Inference(nn.Sequential(Renamed()), CPU, speed="auto", log=lines.append)
    inference.plan_for(images, 200)
    assert str(inference.plan) == "eager, bf16, contiguous"
    assert lines[0].startswith("Faster modules for inference are not used: AttributeError: 'Renamed' object has no")


@pytest.mark.parametrize(
    ("plan", "tolerance"),
    [
        (InferencePlan(mode=ComputeMode("fp32", "channels_last"), rewrites=("all",)), 1e-5),
        (InferencePlan(mode=ComputeMode("bf16", "channels_last"), rewrites=("all",)), 0.1),
    ],
)
@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano", "davit_nano"])
def test_a_plan_has_the_outputs_of_the_model(name: str, plan: InferencePlan, tolerance: float, images: Tensor):
    model = create_model(name).eval()
    nn.init.normal_(model.get_parameter("head.weight"))
    with torch.inference_mode():
        outputs, expected = build_forward(model, plan, (3, 32, 32))(images), model(images)
    assert outputs[0].dtype == torch.float32
    assert is_close(outputs, (expected,), tolerance)


@pytest.mark.long
def test_a_compiled_model_has_the_outputs_of_the_model_for_full_and_partial_batches(
    no_shape_checks: None, images: Tensor
):
    model = small_mixer()
    inference = Inference(model, CPU)
    inference.plan = InferencePlan("compiled", batch=5)
    inference._forward = build_forward(model, inference.plan, (3, 32, 32))
    assert is_close(inference(images), (model(images).detach(),), 1e-5)


def test_a_difference_is_measured_in_standard_deviations_of_the_outputs():
    expected = torch.tensor([[0.0, 10.0], [0.0, 10.0]])
    assert is_close((expected + 0.5,), (expected,), tolerance=0.1)  # the standard deviation is 5.8
    assert not is_close((expected + 0.6,), (expected,), tolerance=0.1)
    assert not is_close((expected * torch.nan,), (expected,), tolerance=0.1)


def test_an_unknown_speed_is_an_error():
    assert parse_speed("off") == "off"
    with pytest.raises(UserError, match='--speed fast is not possible: give "auto", or "off"'):
        parse_speed("fast")
