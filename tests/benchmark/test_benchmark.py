"""A model beside its peers: selection of forms, turns, notes and memory, with simulated forms."""

import gc
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest
import torch

from mixlab.benchmark import benchmark as module
from mixlab.benchmark.benchmark import Settings, benchmark, peak_memory
from mixlab.benchmark.forms import Call, Form
from mixlab.errors import UserError
from mixlab.measure import timing
from mixlab.speed.inference_plan import InferencePlan
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.zoo.architecture import Architecture, architecture

pytestmark = pytest.mark.usefixtures("bf16_is_tried")

CPU = torch.device("cpu")
SECONDS = {"mixlab": 1.0, "timm": 1.5, "eager": 2.0, "compiled": 4.0}
FASTEST = ComputeMode("bf16", "channels_last")


@pytest.fixture
def tiny() -> Architecture:
    return architecture("mixer_nano", depth=1, channels=8, token_hidden=8, channel_hidden=8, image_size=8, classes=3)


@pytest.fixture
def calls(tiny: Architecture, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The forms in the order of their calls; only these advance the clock. Other modes than FASTEST take longer."""
    made: list[str] = []
    clock = SimpleNamespace(now=0.0)

    def prepare(form: Form):
        if form.peer == "compiled" and form.mode.layout == "contiguous":
            raise RuntimeError("no such kernel\nand more")

        def call() -> None:
            made.append(str(form))
            clock.now += SECONDS[form.peer] * (1 if form.mode == FASTEST else 1.1)

        return call

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(module, "prepare", prepare)
    monkeypatch.setattr(module, "peak_memory", lambda form: 123)
    monkeypatch.setattr(module, "matrix_product_peak", lambda device, dtype: 1e9)
    monkeypatch.setattr(
        module, "mixlab_form", lambda *_, **__: Form("mixlab", tiny, "cpu", 8, Plan("cpu", FASTEST, 8), "inference")
    )
    return made


def quiet(message: str) -> None: ...


def test_each_peer_is_measured_in_its_fastest_mode(tiny, calls):
    result = benchmark(tiny, Settings(["timm", "eager", "compiled"], rounds=6), CPU, quiet)
    assert [(row.name, row.precision, row.layout) for row in result.rows] == [
        (peer, "bf16", "channels_last") for peer in SECONDS
    ]
    assert [list(row.seconds) for row in result.rows] == [[seconds] * 6 for seconds in SECONDS.values()]
    assert [row.peak_bytes for row in result.rows] == [123] * 4


def test_a_lack_of_memory_for_the_process_that_measures_it_is_a_note(tiny, calls, monkeypatch):
    monkeypatch.setattr(module, "peak_memory", lambda form: None if form.peer == "eager" else 123)
    result = benchmark(tiny, Settings(["eager"], rounds=6), CPU, quiet)
    assert [row.peak_bytes for row in result.rows] == [123, None]
    assert result.notes == ["Without memory: there was not enough for the process that measures it."]


@pytest.mark.parametrize(
    "error", [BrokenProcessPool("killed"), torch.OutOfMemoryError("CUDA out of memory. Tried")], ids=repr
)
def test_a_process_that_runs_out_of_memory_measures_none(tiny, monkeypatch, error):
    @contextmanager
    def pool(number: int) -> Iterator[SimpleNamespace]:
        future: Future[int] = Future()
        future.set_exception(error)
        yield SimpleNamespace(submit=lambda *_: future)

    monkeypatch.setattr(module, "process_pool", pool)
    assert peak_memory(Form("eager", tiny, "cpu", 8, Plan("cpu", FASTEST, 8), "inference")) is None


def test_the_other_modes_of_a_peer_are_dropped_before_the_rounds(tiny, calls, monkeypatch):
    """Their models and optimizer states take memory."""
    left: list[int] = []

    def measured(functions: Mapping[str, Call], *given: object, **options: object) -> dict[str, list[float]]:
        gc.collect()
        left.append(sum(call() is not None for call in made))
        return {name: [1.0] * 6 for name in functions}

    made: list[ref[Call]] = []
    prepare = module.prepare

    def remember(form: Form) -> Call:
        call = prepare(form)
        made.append(ref(call))
        return call

    monkeypatch.setattr(module, "prepare", remember)
    monkeypatch.setattr(module, "interleaved", measured)
    benchmark(tiny, Settings(["eager"], rounds=6), CPU, quiet)
    assert (len(made), left) == (5, [2])


def test_the_selected_forms_take_turns(tiny, calls):
    benchmark(tiny, Settings(["eager"], rounds=6), CPU, quiet)
    turns = [call.partition(",")[0] for call in calls[-12:]]
    assert turns == ["mixlab", "eager", "eager", "mixlab"] * 3


def test_a_form_that_fails_is_left_out_with_the_first_line_of_its_error(tiny, calls):
    result = benchmark(tiny, Settings(["compiled"], rounds=6), CPU, quiet)
    assert result.notes == [
        "compiled, fp32, contiguous is left out: RuntimeError: no such kernel",
        "compiled, bf16, contiguous is left out: RuntimeError: no such kernel",
    ]


def test_a_form_that_fails_with_an_error_of_its_library_is_left_out(tiny, calls, monkeypatch):
    class GraphError(Exception):
        pass

    prepare = module.prepare

    def failing(form: Form) -> Any:
        if form.peer == "eager":
            raise GraphError("invalid graph")
        return prepare(form)

    monkeypatch.setattr(module, "prepare", failing)
    result = benchmark(tiny, Settings(["eager"], rounds=6), CPU, quiet)
    assert [row.name for row in result.rows] == ["mixlab"]
    assert result.notes[0] == "eager, fp32, contiguous is left out: GraphError: invalid graph"


def test_a_batch_that_does_not_fit_into_memory_is_refused(tiny, calls, monkeypatch):
    def failing(form: Form) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(module, "prepare", failing)
    with pytest.raises(UserError, match=r"--batch 8 does not fit into this machine's memory with .*: give a smaller"):
        benchmark(tiny, Settings(["eager"], rounds=6), CPU, quiet)


def test_a_model_that_timm_does_not_have_has_a_note_instead_of_a_row(tiny, calls):
    fields = {name: value for name, value in tiny.config.items() if name in ("image_size", "patch_size", "depth")}
    widths = {"channels": 8, "token_hidden": 8, "channel_hidden": 8}
    variant = architecture("variant:attention_mixer", **fields, **widths)
    result = benchmark(variant, Settings(["timm"], rounds=6), CPU, quiet)
    assert [row.name for row in result.rows] == ["mixlab"]
    assert "timm has no model" in result.notes[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, r"--batch 0 is too small: give at least 1"),
        ({"batch": 1, "task": "training"}, r"--batch 1 is too small: give at least 2"),
        ({"rounds": 5}, r"--rounds 5 is too small: an interval needs at least 6"),
    ],
)
def test_numbers_out_of_range_are_errors(settings, message):
    with pytest.raises(UserError, match=message):
        Settings(["eager"], **settings)


@pytest.mark.parametrize("task", ["training", "inference"])
@pytest.mark.parametrize("freed", ["released", "retained"])
def test_the_memory_of_a_form_is_measured_as_a_training_under_its_plan_retains_it(tiny, monkeypatch, freed, task):
    retained: list[bool] = []
    monkeypatch.setattr(module, "retain_freed_memory", lambda: retained.append(True))
    plan = Plan("cpu", ComputeMode(), 4, freed_memory=freed) if task == "training" else InferencePlan(batch=4)
    module._run_and_measure(Form("mixlab", tiny, "cpu", 4, plan, task), torch.get_num_threads())
    assert bool(retained) is (freed == "retained" and task == "training")


@pytest.mark.long
def test_the_memory_of_a_form_is_that_of_its_own_process(tiny):
    """A batch that needs 400 MB more than another one, in processes that are otherwise equal."""
    small, large = (
        Form("eager", tiny, "cpu", batch, Plan("cpu", ComputeMode(), batch), "inference") for batch in (1, 500_000)
    )
    most, least = peak_memory(large), peak_memory(small)
    assert most and least
    assert 500_000 * 3 * 8 * 8 * 4 < most - least < 30 * 500_000 * 3 * 8 * 8 * 4
