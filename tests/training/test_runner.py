"""Many trainings: found in the store, trained, failed, killed, or held by another process."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from inline import silent, trained, two_at_a_time
from mixlab.data.sources import open_dataset
from mixlab.errors import Interrupted, UserError
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, Precision
from mixlab.training import runner
from mixlab.training.job import Job
from mixlab.training.planning import autotune
from mixlab.training.planning.autotune import Timings
from mixlab.training.recipes.parse import parse_recipe
from mixlab.training.runner import plan_trainings, run_all
from mixlab.training.training import STARTUP_SECONDS, Training

CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("store")


DIVERGES = {"seed": 1, "optimizer": {"name": "sgd", "learning_rate": 1e30, "weight_decay": 1e30}}


def test_a_run_is_returned_with_the_index_of_its_training(make_trainings, started):
    runs = trained(make_trainings(3, 1, 2))
    assert {place: run.recipe["seed"] for place, run in runs.items()} == {0: 3, 1: 1, 2: 2}
    assert all(run.state == "done" for run in runs.values())


def test_finished_runs_are_taken_from_the_store_without_training(make_trainings, started):
    first = trained(make_trainings(0, 1))
    written = {place: run.weights.stat().st_mtime_ns for place, run in first.items()}
    started.clear()
    again = trained(make_trainings(0, 1))
    assert started == []
    assert again == first
    assert {place: run.weights.stat().st_mtime_ns for place, run in again.items()} == written


def test_only_missing_trainings_run(make_trainings, started):
    trained(make_trainings(0, 2))
    assert sorted(trained(make_trainings(0, 1, 2))) == [0, 1, 2]
    assert [training.job.recipe.seed for training in started] == [0, 2, 1]


def test_the_log_has_a_line_for_every_training(make_trainings, started):
    trained(make_trainings(1))
    lines: list[str] = []
    list(run_all(make_trainings(0, 1, 2), log=lines.append, quiet=True))
    assert lines[0] == "[1/3] mixer_nano, seed 1: found in the store"
    assert lines[1].startswith("[2/3] mixer_nano, seed 0: trained in ") and "; about " in lines[1]
    assert lines[2].startswith("[3/3] mixer_nano, seed 2: trained in ") and "left" not in lines[2]


def test_a_failing_training_does_not_stop_the_others_and_is_raised_at_the_end(make_trainings, started):
    trainings, lines, places = make_trainings(0, DIVERGES, 2), [], []
    counts = (
        r"^1 training of 3 failed; the results of the others are saved\. mixer_nano, seed 1: The loss is \w+ at step \d"
    )
    with pytest.raises(UserError, match=counts):
        for place, run in run_all(trainings, log=lines.append, quiet=True):
            assert run.state == "done"
            places.append(place)
    assert places == [0, 2]
    assert lines[1].startswith("mixer_nano, seed 1: failed, the other trainings continue. The loss is ")


def test_all_failures_are_counted(make_trainings, started):
    trainings = make_trainings(DIVERGES, 0, DIVERGES | {"seed": 2})
    with pytest.raises(
        UserError, match=r"^2 trainings of 3 failed; the results of the others are saved\. mixer_nano, seed 1: "
    ):
        trained(trainings)
    assert trained([trainings[1]])[0].state == "done"


def test_the_error_of_a_single_training_is_not_changed(make_trainings, started):
    with pytest.raises(UserError, match=r"^The loss is"):
        trained(make_trainings(DIVERGES))


def test_after_an_internal_error_the_other_trainings_continue(make_trainings, started, monkeypatch):
    train = runner.train_recipe

    def faulty(recipe: Any, *arguments: Any, **options: Any) -> None:
        if recipe.seed == 0:
            raise ZeroDivisionError("a fault")
        train(recipe, *arguments, **options)

    monkeypatch.setattr(runner, "train_recipe", faulty)
    trainings = make_trainings(0, 1)
    with pytest.raises(ZeroDivisionError, match="a fault"):
        trained(trainings)
    assert Run(trainings[1].folder).state == "done"


@pytest.mark.parametrize(
    ("interruption", "status"), [(KeyboardInterrupt(), 130), (Interrupted("SIGTERM", " after step 2"), 75)], ids=repr
)
def test_an_interruption_ends_all_trainings_and_the_same_call_continues(
    make_trainings, started, monkeypatch, interruption, status
):
    train = runner.train_recipe

    def interrupted(recipe: Any, *arguments: Any, **options: Any) -> None:
        if recipe.seed == 1:
            raise interruption
        train(recipe, *arguments, **options)

    with monkeypatch.context() as stopped, pytest.raises(Interrupted) as raised:
        stopped.setattr(runner, "train_recipe", interrupted)
        trained(make_trainings(0, 1, 2))
    assert raised.value.status == status
    cause = {75: "SIGTERM", 130: "Ctrl-C"}[status]
    assert str(raised.value) == (
        f"Stopped by {cause}. Finished trainings and the checkpoints of the others are stored: run the same command "
        "again to continue."
    )
    assert [training.job.recipe.seed for training in started] == [0, 1]
    assert sorted(trained(make_trainings(0, 1, 2))) == [0, 1, 2]
    assert [training.job.recipe.seed for training in started] == [0, 1, 1, 2]


def killed(training: Training, *, waits: bool) -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(BrokenProcessPool())
    return future


def test_a_killed_process_is_a_user_error_about_memory(make_trainings, monkeypatch):
    monkeypatch.setattr(runner, "_start", killed)
    sentence = r"^The training of mixer_nano, seed 3 was killed .* because memory ran out: .* not repeated\.$"
    with pytest.raises(UserError, match=sentence):
        trained(make_trainings(3))


@pytest.fixture
def overlapping(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of running trainings at each start. Each training runs in a thread, after another one has started."""
    numbers, running = [], 0
    lock, together, threads = threading.Lock(), threading.Barrier(2), torch.get_num_threads()

    def work(training: Training, *, waits: bool) -> None:
        nonlocal running
        together.wait(60)
        with lock:  # the random number generator is global
            try:
                runner.train_recipe(training.job.recipe, training.plan, training.folder, waits=waits)
            finally:
                running -= 1

    def start(training: Training, *, waits: bool) -> Future[None]:
        nonlocal running
        running += 1
        numbers.append(running)
        return pool.submit(work, training, waits=waits)

    with ThreadPoolExecutor(8) as pool:
        monkeypatch.setattr(runner, "_start", start)
        yield numbers
    torch.set_num_threads(threads)


def test_the_plans_determine_how_many_trainings_run_at_the_same_time(make_trainings, overlapping):
    runs = trained(two_at_a_time(make_trainings(0, 1, 2, 3)))
    assert {place: run.recipe["seed"] for place, run in runs.items()} == {0: 0, 1: 1, 2: 2, 3: 3}
    assert all(run.plan["concurrent"] == 2 and run.plan["threads"] == 1 for run in runs.values())
    assert len(overlapping) == 4 and max(overlapping) == 2


def test_a_failure_does_not_stop_a_concurrent_training(make_trainings, overlapping):
    trainings = two_at_a_time(make_trainings(0, DIVERGES))
    with pytest.raises(UserError, match=r"^1 training of 2 failed"):
        trained(trainings)
    assert Run(trainings[0].folder).state == "done"


SECONDS: dict[int, dict[Precision, float]] = {16: {"fp32": 1.0, "bf16": 0.5}, 8: {"fp32": 0.2, "bf16": 0.3}}


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that are timed, with fixed times: bf16 is faster for 16 pixels, fp32 for 8."""
    jobs: list[Job] = []

    def time_job(job: Job, log: Any, processes: int = 1) -> Timings:
        jobs.append(job)
        size = job.architecture.config["image_size"]
        modes = {ComputeMode(precision): seconds for precision, seconds in SECONDS[size].items()}
        return Timings(size // 4, "released", modes)

    monkeypatch.setattr(autotune, "time_job", time_job)
    return jobs


@pytest.mark.parametrize(("steps", "precision"), [(6, "bf16"), (60, "fp32")])
def test_all_trainings_get_the_mode_with_the_shortest_total_time(make_trainings, timed, steps, precision):
    """With bf16, six steps at 16 pixels take 3 s less, six at 8 pixels 0.6 s more, and sixty at 8 pixels 6 s more."""
    trainings = make_trainings({"image_size": 16}, {"steps": steps}, {"steps": steps, "seed": 1})
    assert {training.plan.mode for training in trainings} == {ComputeMode(precision)}
    assert [training.plan.micro_batch for training in trainings] == [4, 2, 2]
    seconds = [SECONDS[size][precision] for size in (16, 8, 8)]
    assert [training.seconds_per_step for training in trainings] == seconds


def test_timings_are_cached_for_all_seeds_and_lengths(make_trainings, timed):
    first = make_trainings({"speed": "auto"}, {"speed": "auto", "seed": 1})
    again = make_trainings({"speed": "auto"}, {"speed": "auto", "seed": 5, "steps": 3})
    assert len(timed) == 1
    assert again[0] == replace(first[0], job=again[0].job)


def test_the_seconds_of_a_training_include_its_steps_and_its_start(make_trainings, timed):
    (training,) = make_trainings(0)
    assert training.seconds == STARTUP_SECONDS + 6 * 0.2
    assert Training(training.job).seconds == STARTUP_SECONDS


def test_linear_probes_and_trainings_run_in_one_call(make_trainings, started, timed, tiny_recipe, pets):
    (before,) = make_trainings(0)
    source = trained([before])[0]
    probe = {"model": "mixer_nano", "data": f"folder:{pets}", "initialization": {"weights": str(source.path)}}
    recipes = [
        parse_recipe(probe | {"linear_probe": {}}, "probe"),
        parse_recipe(tiny_recipe | {"data": f"folder:{pets}", "seed": 1}, "tiny"),
    ]
    trainings = plan_trainings(recipes, open_dataset(f"folder:{pets}"), CPU, silent)
    assert [training.plan is None for training in trainings] == [True, False]
    assert trainings[0].seconds == STARTUP_SECONDS
    runs = trained(trainings)
    assert [runs[place].state for place in (0, 1)] == ["done", "done"]
    assert "linear_probe" in runs[0].recipe and "optimizer" in runs[1].recipe
    body = {name: tensor for name, tensor in load_file(source.weights).items() if not name.startswith("head.")}
    probed = load_file(runs[0].weights)
    assert all(torch.equal(probed[name], tensor) for name, tensor in body.items())
    started.clear()
    assert trained(trainings) == runs
    assert started == []
