"""The loop: what it leaves, what decides the weights, and how it ends when it can't go on."""

import copy
import json
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
    "config.json",
}
STOCHASTIC = ("config.depth=2", "config.stochastic_depth=0.5")
"""Settings of a model that draws in every step; the first block of several is never left out."""


@pytest.fixture
def without_validation(shades: Dataset) -> Dataset:
    return replace(shades, splits={name: shades.splits[name] for name in ("train", "test")})


def weights_of(job: Job, folder: Path, plan: Plan = PLAN) -> dict[str, Tensor]:
    return load_file(train(job, plan, folder, quiet=True).weights)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


# What a finished training leaves


def test_a_finished_run_has_its_files_and_no_other(make_job, tmp_path):
    run = train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert {path.name for path in run.path.iterdir()} == FILES
    assert run.state == "done"


def test_the_parts_are_kept_where_they_were_cut_here(make_job, shades, tmp_path):
    run = train(make_job(dataset=replace(shades, split_by_mixlab=True)), PLAN, tmp_path / "run", quiet=True)
    assert run.split_assignment == shades.assignment
    assert {path.name for path in run.path.iterdir()} == FILES | {"split.json"}


def test_the_recipe_of_a_run_is_itself_a_recipe_and_the_resolved_one(make_job, tmp_path):
    job = make_job("batch=auto", "augmentation.affine.degrees=5", "ema.decay=0.9")
    run = train(job, PLAN, tmp_path / "run", quiet=True)
    fields = tomllib.loads((run.path / "recipe.toml").read_text())
    assert parse_training_recipe(fields, "the run's") == job.recipe


def test_the_plan_the_card_and_the_machine_are_in_the_folder(make_job, tmp_path):
    job = make_job()
    run = train(job, PLAN, tmp_path / "run", quiet=True)
    assert Plan.from_dict(run.plan) == PLAN
    assert run.config["config"] == json.loads(json.dumps(dict(job.architecture.config)))
    assert run.environment["versions"]["torch"] and run.environment["device_type"] == "cpu"


def test_the_journal_counts_every_image_that_a_step_saw(make_job, tmp_path):
    run = train(make_job(), PLAN, tmp_path / "run", quiet=True)
    epochs, end = read_history(run.journal).epochs, read_history(run.journal).end
    assert [(epoch["epoch"], epoch["step"]) for epoch in epochs] == [(1, 5), (2, 6)]
    assert end is not None and end["images"] == 6 * 8
    assert end["training_seconds"] == epochs[-1]["seconds"] > epochs[0]["seconds"] > 0
    assert end["peak_bytes"] > 0


def test_unreadable_images_are_named_in_the_journal(make_job, shades, tmp_path):
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


def test_a_step_with_none_of_the_peak_moves_nothing(make_job, without_validation, tmp_path):
    """The last of two, where the line has come to its end: the rate reaches the optimiser."""
    half = ("schedule.final_factor=1", "optimizer.learning_rate=5e-3")
    one, two = (
        weights_of(make_job(f"steps={n}", *schedule, dataset=without_validation), tmp_path / str(n))
        for n, schedule in ((1, half), (2, ["schedule.name=linear"]))
    )
    assert same(one, two)


def test_a_tiny_model_learns_to_tell_dark_from_light(make_job, tmp_path):
    run = train(make_job("epochs=12"), PLAN, tmp_path / "run", quiet=True)
    assert read_history(run.journal).epochs[-1]["validation"] == {"top1": 100.0, "images": 12}


# What decides the weights


def test_the_same_seed_gives_the_same_weights_bit_for_bit(make_job, tmp_path):
    job = make_job("augmentation.flip=true", *STOCHASTIC)
    first = weights_of(job, tmp_path / "first")
    torch.manual_seed(1234)  # whatever the process drew before
    assert same(first, weights_of(job, tmp_path / "second"))


def test_another_seed_gives_other_weights(make_job, tmp_path):
    assert not same(weights_of(make_job(), tmp_path / "0"), weights_of(make_job("seed=1"), tmp_path / "1"))


def test_the_model_goes_back_to_training_after_it_was_evaluated(make_job, without_validation, tmp_path, monkeypatch):
    scored(monkeypatch, [1.0, 2.0])
    evaluated = weights_of(make_job(*STOCHASTIC, "epochs=2"), tmp_path / "judged")
    assert same(evaluated, weights_of(make_job(*STOCHASTIC, "epochs=2", dataset=without_validation), tmp_path / "not"))


def test_what_else_draws_between_the_steps_changes_nothing(make_job, tmp_path, monkeypatch):
    undisturbed = weights_of(make_job(*STOCHASTIC), tmp_path / "undisturbed")
    accumulate_gradients = step.accumulate_gradients
    monkeypatch.setattr(
        step, "accumulate_gradients", lambda *args, **given: (accumulate_gradients(*args, **given), torch.rand(1))[0]
    )
    assert same(undisturbed, weights_of(make_job(*STOCHASTIC), tmp_path / "disturbed"))


def test_fp32_after_bf16_in_one_process_is_fp32(make_job, tmp_path):
    """Accelerate keeps its state in the process."""
    first = weights_of(make_job(), tmp_path / "first")
    in_bf16 = weights_of(make_job(), tmp_path / "bf16", Plan("cpu", ComputeMode("bf16"), 8))
    assert not same(first, in_bf16)
    assert same(first, weights_of(make_job(), tmp_path / "again"))


@pytest.mark.parametrize(
    "mode", [ComputeMode("bf16"), ComputeMode("fp32", "channels_last"), ComputeMode("bf16", "channels_last")], ids=str
)
def test_every_mode_trains_and_keeps_weights_in_fp32_and_in_the_default_layout(make_job, tiny_recipe, tmp_path, mode):
    tiny_recipe["config"] = {"patch_size": 2, "kernel_size": 3, "channels": 8, "depth": 1}
    job = make_job("model=convmixer_nano", "epochs=12")
    run = train(job, Plan("cpu", mode, 8), tmp_path / "run", quiet=True)
    assert all(
        tensor.dtype == torch.float32 for tensor in job.build().state_dict().values() if tensor.is_floating_point()
    )
    for name, tensor in load_file(run.weights).items():
        assert tensor.is_contiguous() and tensor.dtype in (torch.float32, torch.int64), name
    assert read_history(run.journal).epochs[-1]["train"]["top1"] > 90


def test_the_plan_s_micro_batch_is_what_goes_through_at_once(make_job, tmp_path, monkeypatch):
    seen = set()
    accumulate_gradients = step.accumulate_gradients
    monkeypatch.setattr(
        step,
        "accumulate_gradients",
        lambda *args, **given: seen.add(given["micro_batch"]) or accumulate_gradients(*args, **given),
    )
    train(make_job(), Plan("cpu", ComputeMode(), 3), tmp_path / "run", quiet=True)
    assert seen == {3}


def test_clipped_gradients_move_the_weights_no_further_than_their_norm(make_job, tiny_recipe, tmp_path):
    tiny_recipe["optimizer"] = {"name": "sgd", "learning_rate": 1.0, "weight_decay": 0.0, "clip_norm": 1e-3}
    job = make_job("steps=1", "schedule.final_factor=1")
    torch.manual_seed(job.recipe.seed)
    before = job.build().state_dict()
    after = weights_of(job, tmp_path / "run")
    moved = torch.stack([(after[name] - before[name]).square().sum() for name in before]).sum().sqrt()
    assert moved.item() == pytest.approx(1e-3, rel=1e-3)


# Which weights are kept


def scored(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> list[dict[str, Tensor]]:
    """Validation gives these scores in turn. Returns the weights that it judged."""
    evaluated: list[dict[str, Tensor]] = []
    left = iter(scores)

    def accuracy(_: Validation, weights: Any) -> dict[str, float]:
        evaluated.append(weights)
        return {"top1": next(left), "images": 12}

    monkeypatch.setattr(loop, "predict_fn", lambda model, *_: copy.deepcopy(model.eval().state_dict()))
    monkeypatch.setattr(Validation, "accuracy", accuracy)
    return evaluated


@pytest.mark.parametrize(("scores", "kept"), [([50, 80, 60], 1), ([50, 80, 80], 2), ([80, 60, 50], 0), ([0, 0, 0], 2)])
def test_the_best_weights_by_validation_are_kept_and_of_equals_the_later_ones(
    make_job, tmp_path, monkeypatch, scores, kept
):
    evaluated = scored(monkeypatch, scores)
    assert same(weights_of(make_job("epochs=3"), tmp_path / "run"), evaluated[kept])


def test_without_validation_the_last_weights_are_kept(make_job, without_validation, tmp_path, monkeypatch):
    evaluated = scored(monkeypatch, [1, 2, 3])
    weights_of(make_job("epochs=3"), tmp_path / "judged")
    assert same(weights_of(make_job("epochs=3", dataset=without_validation), tmp_path / "last"), evaluated[-1])


def test_a_moving_average_follows_its_formula(make_job, without_validation, tmp_path):
    """The first step's weights, then decay times the average and the rest of the new ones."""
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


# How it ends when it can't go on


def failing_at_step(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    accumulate_gradients, calls = step.accumulate_gradients, []

    def failing(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise error
        return accumulate_gradients(*arguments, **settings)

    monkeypatch.setattr(step, "accumulate_gradients", failing)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_loss_that_is_no_number_ends_in_a_sentence_and_is_kept_for_the_post_mortem(
    make_job, tiny_recipe, tmp_path, precision
):
    tiny_recipe["optimizer"] = {"name": "sgd", "learning_rate": 1e38, "weight_decay": 0.0}
    sentence = r"The loss became (nan|inf) at step (\d): the training diverged\. Lower optimizer\.learning_rate"
    with pytest.raises(UserError, match=sentence) as raised:
        train(make_job(), Plan("cpu", ComputeMode(precision), 8), tmp_path / "run", quiet=True)
    found = json.loads(Run(tmp_path / "run").postmortem.read_text())
    assert f"at step {found['step']}:" in str(raised.value)
    assert len(found["images"]) == 8 and all(name.startswith("train/") for name in found["images"])
    assert len(found["largest_gradients"]) == 10
    assert Run(tmp_path / "run").state == "stopped"
    assert not list(Run(tmp_path / "run").checkpoints.glob("*"))


def test_an_interrupted_run_says_that_it_was_stopped(make_job, tmp_path, monkeypatch):
    failing_at_step(monkeypatch, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert Run(tmp_path / "run").state == "stopped"
    assert "The training was stopped at" in Run(tmp_path / "run").report.read_text()


def test_an_interrupted_run_s_folder_can_be_trained_into_again(make_job, tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        failing_at_step(broken, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train(make_job(), PLAN, tmp_path / "run", quiet=True)
    again = weights_of(make_job(), tmp_path / "run")
    assert same(again, weights_of(make_job(), tmp_path / "undisturbed"))


def test_an_error_of_ours_keeps_its_traceback_and_the_folder(make_job, tmp_path, monkeypatch):
    failing_at_step(monkeypatch, 3, RuntimeError("ours"))
    with pytest.raises(RuntimeError, match=r"^ours$"):
        train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert Run(tmp_path / "run").state == "stopped"


def test_a_user_s_mistake_that_shows_late_leaves_nothing(make_job, tmp_path, monkeypatch):
    failing_at_step(monkeypatch, 3, UserError("late"))
    with pytest.raises(UserError, match=r"^late$"):
        train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_not_trained_over(make_job, tmp_path):
    first = weights_of(make_job(), tmp_path / "run")
    with pytest.raises(UserError, match="contains a finished run, which is never overwritten"):
        train(make_job("seed=1"), PLAN, tmp_path / "run", quiet=True)
    assert same(first, load_file(tmp_path / "run" / "model.safetensors"))
