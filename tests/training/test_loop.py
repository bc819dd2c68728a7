"""The training loop: the files of a run, what determines the weights, and failures."""

import copy
import json
import os
import signal
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import loop, step
from mixlab.training.job import Job
from mixlab.training.loop import train
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.run_writer import RunWriter
from mixlab.training.schedule import lr_factor
from mixlab.training.validation import Validation

PLAN = Plan("cpu", ComputeMode(), 8)
FILES = {
    "status.json",
    "recipe.toml",
    "plan.json",
    "environment.json",
    "data.json",
    "checkpoints",
    "report.html",
    "journal.jsonl",
    "model.safetensors",
    "training_images.safetensors",
    "config.json",
}
STOCHASTIC = ("config.depth=2", "config.stochastic_depth=0.5")
"""Settings of a model that uses random numbers in every step; stochastic depth never drops the first block."""


@pytest.fixture
def without_validation(shades: Dataset) -> Dataset:
    return replace(shades, splits={name: shades.splits[name] for name in ("train", "test")})


def weights_of(job: Job, folder: Path, plan: Plan = PLAN) -> dict[str, Tensor]:
    return load_file(train(job, plan, folder, quiet=True).weights)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether the weights are identical, bit for bit."""
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


# The files of a finished run


def test_a_finished_run_has_exactly_its_files(make_job, tmp_path):
    run = train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert {path.name for path in run.path.iterdir()} == FILES
    assert run.state == "done"


def test_splits_made_by_mixlab_are_written_to_the_run(make_job, shades, tmp_path):
    run = train(make_job(dataset=replace(shades, split_by_mixlab=True)), PLAN, tmp_path / "run", quiet=True)
    assert run.split_assignment == shades.assignment
    assert {path.name for path in run.path.iterdir()} == FILES | {"split.json"}


def test_the_stored_recipe_is_the_resolved_recipe(make_job, tmp_path):
    job = make_job("batch=auto", "augmentation.affine.degrees=5", "ema.decay=0.9")
    run = train(job, PLAN, tmp_path / "run", quiet=True)
    fields = tomllib.loads((run.path / "recipe.toml").read_text())
    assert parse_training_recipe(fields, "the run's") == job.recipe


def test_plan_config_and_machine_are_in_the_folder(make_job, tmp_path):
    job = make_job()
    run = train(job, PLAN, tmp_path / "run", quiet=True)
    assert Plan.from_dict(run.plan) == PLAN
    assert run.config["config"] == json.loads(json.dumps(dict(job.architecture.config)))
    assert run.environment["versions"]["torch"] and run.environment["device_type"] == "cpu"


def test_the_journal_counts_the_images_of_all_steps(make_job, tmp_path):
    run = train(make_job(), PLAN, tmp_path / "run", quiet=True)
    epochs, end = read_history(run.journal).epochs, read_history(run.journal).end
    assert [(epoch["epoch"], epoch["step"]) for epoch in epochs] == [(1, 5), (2, 6)]
    assert end is not None and end["images"] == 6 * 8
    assert end["training_seconds"] == epochs[-1]["seconds"] > epochs[0]["seconds"] > 0
    assert end["peak_bytes"] > 0


def test_unreadable_images_are_listed_in_the_journal(make_job, shades, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    split = shades.splits["train"]
    broken = replace(split, images=[*split.images[:-1], tmp_path / "cut.jpg"])
    job = make_job("max_unreadable=1", dataset=replace(shades, splits=shades.splits | {"train": broken}))
    end = read_history(train(job, PLAN, tmp_path / "run", quiet=True).journal).end or {}
    assert list(end["unreadable"]) == ["train/39"]


def test_the_learning_rate_follows_the_schedule(make_job, tmp_path):
    job = make_job("steps=40", "schedule.warmup=0.1")
    lines = read_history(train(job, PLAN, tmp_path / "run", quiet=True).journal).steps
    expected = {step: 1e-2 * lr_factor(job.recipe.schedule, step - 1, 40, 5) for step in (20, 40)}
    assert {line["step"]: line["learning_rate"] for line in lines} == pytest.approx(expected)


def test_a_step_with_learning_rate_zero_changes_no_weights(make_job, without_validation, tmp_path):
    """With a linear schedule it is the last step. This shows that the learning rate reaches the optimizer."""
    half = ("schedule.final_factor=1", "optimizer.learning_rate=5e-3")
    one, two = (
        weights_of(make_job(f"steps={n}", *schedule, dataset=without_validation), tmp_path / str(n))
        for n, schedule in ((1, half), (2, ["schedule.name=linear"]))
    )
    assert same(one, two)


def test_a_tiny_model_learns_to_distinguish_dark_and_light_images(make_job, tmp_path):
    run = train(make_job("epochs=12"), PLAN, tmp_path / "run", quiet=True)
    assert read_history(run.journal).epochs[-1]["validation"] == {"top1": 100.0, "images": 12}


# What determines the weights


def test_the_same_seed_gives_the_same_weights_bit_for_bit(make_job, tmp_path):
    job = make_job("augmentation.flip=true", *STOCHASTIC)
    first = weights_of(job, tmp_path / "first")
    torch.manual_seed(1234)  # random numbers that were used before do not matter
    assert same(first, weights_of(job, tmp_path / "second"))


def test_another_seed_gives_other_weights(make_job, tmp_path):
    assert not same(weights_of(make_job(), tmp_path / "0"), weights_of(make_job("seed=1"), tmp_path / "1"))


def test_the_model_returns_to_training_mode_after_validation(make_job, without_validation, tmp_path, monkeypatch):
    scored(monkeypatch, [1.0, 2.0])
    evaluated = weights_of(make_job(*STOCHASTIC, "epochs=2"), tmp_path / "evaluated")
    assert same(evaluated, weights_of(make_job(*STOCHASTIC, "epochs=2", dataset=without_validation), tmp_path / "not"))


def test_random_numbers_used_between_steps_do_not_change_the_weights(make_job, tmp_path, monkeypatch):
    undisturbed = weights_of(make_job(*STOCHASTIC), tmp_path / "undisturbed")
    accumulate_gradients = step.accumulate_gradients
    monkeypatch.setattr(
        step, "accumulate_gradients", lambda *args, **given: (accumulate_gradients(*args, **given), torch.rand(1))[0]
    )
    assert same(undisturbed, weights_of(make_job(*STOCHASTIC), tmp_path / "disturbed"))


def test_training_in_fp32_after_bf16_in_one_process_uses_fp32(make_job, tmp_path):
    """Accelerate has a global state."""
    first = weights_of(make_job(), tmp_path / "first")
    in_bf16 = weights_of(make_job(), tmp_path / "bf16", Plan("cpu", ComputeMode("bf16"), 8))
    assert not same(first, in_bf16)
    assert same(first, weights_of(make_job(), tmp_path / "again"))


@pytest.mark.parametrize(
    "mode", [ComputeMode("bf16"), ComputeMode("fp32", "channels_last"), ComputeMode("bf16", "channels_last")], ids=str
)
def test_every_mode_trains_and_saves_weights_in_fp32_and_in_the_default_layout(make_job, tiny_recipe, tmp_path, mode):
    tiny_recipe["config"] = {"patch_size": 2, "kernel_size": 3, "channels": 8, "depth": 1}
    job = make_job("model=convmixer_nano", "epochs=12")
    run = train(job, Plan("cpu", mode, 8), tmp_path / "run", quiet=True)
    assert all(
        tensor.dtype == torch.float32 for tensor in job.build().state_dict().values() if tensor.is_floating_point()
    )
    for name, tensor in load_file(run.weights).items():
        assert tensor.is_contiguous() and tensor.dtype in (torch.float32, torch.int64), name
    assert read_history(run.journal).epochs[-1]["train"]["top1"] > 90


def test_gradients_are_accumulated_with_the_plan_of_the_training(make_job, tmp_path, monkeypatch):
    plans = set()
    accumulate_gradients = step.accumulate_gradients
    monkeypatch.setattr(
        step,
        "accumulate_gradients",
        lambda *args, **given: plans.add(args[5]) or accumulate_gradients(*args, **given),
    )
    train(make_job(), Plan("cpu", ComputeMode(), 3), tmp_path / "run", quiet=True)
    assert plans == {Plan("cpu", ComputeMode(), 3)}


def test_a_step_with_clipped_gradients_has_the_length_of_the_clip_norm(make_job, tiny_recipe, tmp_path):
    tiny_recipe["optimizer"] = {"name": "sgd", "learning_rate": 1.0, "weight_decay": 0.0, "clip_norm": 1e-3}
    job = make_job("steps=1", "schedule.final_factor=1")
    torch.manual_seed(job.recipe.seed)
    before = job.build().state_dict()
    after = weights_of(job, tmp_path / "run")
    moved = torch.stack([(after[name] - before[name]).square().sum() for name in before]).sum().sqrt()
    assert moved.item() == pytest.approx(1e-3, rel=1e-3)


# Which weights are saved


def scored(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> list[dict[str, Tensor]]:
    """Replace validation by one that returns these scores in turn, and return the list of the weights it evaluates."""
    evaluated: list[dict[str, Tensor]] = []
    left = iter(scores)

    def evaluate(_: Validation, weights: Any) -> tuple[dict[str, float], dict[str, Any]]:
        evaluated.append(weights)
        return {"top1": next(left), "images": 12}, {}

    monkeypatch.setattr(loop, "predict_fn", lambda model, *_: copy.deepcopy(model.eval().state_dict()))
    monkeypatch.setattr(Validation, "evaluate", evaluate)
    return evaluated


@pytest.mark.parametrize(("scores", "saved"), [([50, 80, 60], 1), ([50, 80, 80], 2), ([80, 60, 50], 0), ([0, 0, 0], 2)])
def test_the_weights_with_the_best_validation_accuracy_are_saved_and_the_latest_of_equal_ones(
    make_job, tmp_path, monkeypatch, scores, saved
):
    evaluated = scored(monkeypatch, scores)
    assert same(weights_of(make_job("epochs=3"), tmp_path / "run"), evaluated[saved])


def test_without_validation_the_weights_of_the_last_step_are_saved(make_job, without_validation, tmp_path, monkeypatch):
    evaluated = scored(monkeypatch, [1, 2, 3])
    weights_of(make_job("epochs=3"), tmp_path / "evaluated")
    assert same(weights_of(make_job("epochs=3", dataset=without_validation), tmp_path / "last"), evaluated[-1])


def test_a_moving_average_is_computed_by_its_formula(make_job, without_validation, tmp_path):
    """First the weights after one step; then average = decay * average + (1 - decay) * weights."""
    constant = ("schedule.name=linear", "schedule.final_factor=1.0")
    after = [
        weights_of(make_job(*constant, f"steps={steps}", dataset=without_validation), tmp_path / str(steps))
        for steps in (1, 2, 3)
    ]
    averaged = make_job(*constant, "steps=3", "ema.decay=0.75", dataset=without_validation)
    for name, average in weights_of(averaged, tmp_path / "average").items():
        expected = after[0][name]
        for weights in after[1:]:
            expected = 0.75 * expected + 0.25 * weights[name]
        torch.testing.assert_close(average, expected)


def test_validation_evaluates_the_moving_average(make_job, tmp_path, monkeypatch):
    evaluated = scored(monkeypatch, [50, 80])
    assert same(weights_of(make_job("epochs=2", "ema.decay=0.5"), tmp_path / "run"), evaluated[1])


# Failures


def failing_at_step(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    accumulate_gradients, calls = step.accumulate_gradients, []

    def failing(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise error
        return accumulate_gradients(*arguments, **settings)

    monkeypatch.setattr(step, "accumulate_gradients", failing)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_non_finite_loss_is_a_user_error_with_a_postmortem(make_job, tiny_recipe, tmp_path, precision):
    tiny_recipe["optimizer"] = {"name": "sgd", "learning_rate": 1e38, "weight_decay": 0.0}
    message = r"^The loss is (nan|inf) at step (\d): the training diverged\. Lower optimizer\.learning_rate"
    with pytest.raises(UserError, match=message) as raised:
        train(make_job(), Plan("cpu", ComputeMode(precision), 8), tmp_path / "run", quiet=True)
    found = json.loads(Run(tmp_path / "run").postmortem.read_text())
    assert f"at step {found['step']}:" in str(raised.value)
    assert len(found["images"]) == 8 and all(name.startswith("train/") for name in found["images"])
    assert len(found["largest_gradients"]) == 10
    assert Run(tmp_path / "run").state == "stopped"
    assert not list(Run(tmp_path / "run").checkpoints.glob("*"))


def test_an_interrupted_run_is_stopped_in_its_status_and_on_its_page(make_job, tmp_path, monkeypatch):
    failing_at_step(monkeypatch, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert Run(tmp_path / "run").state == "stopped"
    assert "The training was stopped at" in Run(tmp_path / "run").report.read_text()


def test_the_folder_of_an_interrupted_run_can_be_used_again(make_job, tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        failing_at_step(broken, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train(make_job(), PLAN, tmp_path / "run", quiet=True)
    again = weights_of(make_job(), tmp_path / "run")
    assert same(again, weights_of(make_job(), tmp_path / "undisturbed"))


def test_an_error_in_the_code_keeps_its_traceback_and_the_folder(make_job, tmp_path, monkeypatch):
    failing_at_step(monkeypatch, 3, RuntimeError("bug"))
    with pytest.raises(RuntimeError, match=r"^bug$"):
        train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert Run(tmp_path / "run").state == "stopped"


def test_a_user_error_during_training_leaves_no_folder(make_job, tmp_path, monkeypatch):
    failing_at_step(monkeypatch, 3, UserError("late"))
    with pytest.raises(UserError, match=r"^late$"):
        train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_during_the_clean_up_after_an_error_does_not_interrupt_it(make_job, tmp_path, monkeypatch):
    """torchrun stops the other processes when the first one fails."""
    clean_up = RunWriter.on_failure

    def on_failure(writer: RunWriter, error: BaseException) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        clean_up(writer, error)

    monkeypatch.setattr(RunWriter, "on_failure", on_failure)
    failing_at_step(monkeypatch, 3, UserError("late"))
    with pytest.raises(UserError, match=r"^late$"):
        train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_returned_and_not_overwritten(make_job, tmp_path, monkeypatch):
    first = weights_of(make_job(), tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    failing_at_step(monkeypatch, 1, AssertionError("a finished run was trained again"))
    run = train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert (run.path, run.state) == (tmp_path / "run", "done")
    with pytest.raises(UserError, match=r"run was started with another recipe: seed was 0 and is 1\."):
        train(make_job("seed=1"), PLAN, tmp_path / "run", quiet=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before
    assert same(first, load_file(tmp_path / "run" / "model.safetensors"))
