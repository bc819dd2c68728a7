"""A training that is interrupted and resumed ends with exactly the weights of an uninterrupted one."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mixlab.errors import UserError
from mixlab.runs.checkpoints import Checkpoint
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.speed import training_rewrites
from mixlab.speed.kernels.library import Kernels, KernelsUnavailableError, kernels
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.speed.training_rewrites import TrainingRewrites
from mixlab.training import state, step
from mixlab.training.job import Job
from mixlab.training.launch import launch
from mixlab.training.loop import train

PLAN = Plan("cpu", ComputeMode(), 8)
EVERYTHING = (
    "config.depth=2",
    "config.stochastic_depth=0.5",
    "augmentation.flip=true",
    "ema.decay=0.5",
    "optimizer.clip_norm=1.0",
    "steps=23",
    "checkpoints.every_steps=3",
)
"""Everything with a state or random numbers: a moving average, stochastic depth, augmentation.

23 steps are four epochs of five steps and three more.
"""

MakeJob = Callable[..., Job]


class Killed(BaseException):
    """Simulates within one process a signal that can't be caught."""


def killed_at(number: int, monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> None:
    accumulate_gradients, calls = step.accumulate_gradients, []

    def failing(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise Killed
        return accumulate_gradients(*arguments, **settings)

    with monkeypatch.context() as broken:
        broken.setattr(step, "accumulate_gradients", failing)
        with pytest.raises(Killed):
            run()


def identical(one: Run, other: Run) -> bool:
    first, second = load_file(one.weights), load_file(other.weights)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("number", [1, 2, 4, 6, 7, 16, 21, 23])
@pytest.mark.parametrize("mode", [ComputeMode(), ComputeMode("bf16", "channels_last")], ids=str)
def test_a_run_killed_at_any_step_ends_with_the_weights_of_an_uninterrupted_one(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, mode: ComputeMode
):
    job, plan = make_job(*EVERYTHING), Plan("cpu", mode, 3)
    uninterrupted = train(job, plan, tmp_path / "uninterrupted", quiet=True)
    killed_at(number, monkeypatch, lambda: train(job, plan, tmp_path / "killed", quiet=True))
    resumed = train(job, plan, tmp_path / "killed", quiet=True)
    assert identical(uninterrupted, resumed)


@pytest.mark.parametrize(
    "optimizer", [{"name": "sgd", "momentum": 0.9}, {"name": "adamw"}], ids=lambda one: one["name"]
)
@pytest.mark.parametrize("model", ["convmixer", "davit"])
def test_the_states_of_optimizer_and_batch_normalisation_are_restored(
    make_job: MakeJob, tiny_recipe: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: dict, model: str
):
    tiny_recipe["optimizer"] = optimizer | {"learning_rate": 1e-2, "weight_decay": 0.01}
    tiny_recipe["config"] = {
        "convmixer": {"patch_size": 2, "kernel_size": 3, "channels": 8, "depth": 2},
        "davit": {"channels": [8, 16], "depths": [1, 1], "heads": [1, 2], "window": 2, "stochastic_depth": 0.3},
    }[model]
    job = make_job(f"model={model}_nano", "steps=8", "checkpoints.every_steps=2")
    uninterrupted = train(job, PLAN, tmp_path / "uninterrupted", quiet=True)
    killed_at(8, monkeypatch, lambda: train(job, PLAN, tmp_path / "killed", quiet=True))
    assert identical(uninterrupted, train(job, PLAN, tmp_path / "killed", quiet=True))


def test_the_journal_of_a_resumed_run_has_every_epoch_once(make_job: MakeJob, tmp_path: Path, monkeypatch):
    job = make_job(*EVERYTHING)
    uninterrupted = train(job, PLAN, tmp_path / "uninterrupted", quiet=True)
    killed_at(14, monkeypatch, lambda: train(job, PLAN, tmp_path / "killed", quiet=True))
    resumed = train(job, PLAN, tmp_path / "killed", quiet=True)
    epochs, expected = read_history(resumed.journal).epochs, read_history(uninterrupted.journal).epochs
    for line in (*epochs, *expected):
        del line["seconds"]
    assert epochs == expected
    assert [line["step"] for line in read_history(resumed.journal).resumed] == [12]
    end, expected_end = (read_history(one.journal).end or {} for one in (resumed, uninterrupted))
    assert end["images"] == expected_end["images"] == 23 * 8


def native_plan() -> Plan:
    return replace(PLAN, rewrites=TrainingRewrites(("native_gelu",), kernels().build))


def test_without_the_kernels_of_its_plan_a_training_is_not_resumed(make_job: MakeJob, tmp_path: Path, monkeypatch):
    job, plan = make_job(*EVERYTHING), native_plan()
    uninterrupted = train(job, plan, tmp_path / "uninterrupted", quiet=True)
    killed_at(14, monkeypatch, lambda: train(job, plan, tmp_path / "killed", quiet=True))

    def unavailable() -> Kernels:
        raise KernelsUnavailableError("no C++ compiler was found")

    with monkeypatch.context() as without_compiler:
        without_compiler.setattr(training_rewrites, "kernels", unavailable)
        for folder in ("killed", "new"):
            with pytest.raises(
                UserError, match=r"not available on this machine: no C\+\+ compiler was found\. Continue"
            ):
                train(job, plan, tmp_path / folder, quiet=True)
    assert not (tmp_path / "new").exists()
    assert identical(uninterrupted, train(job, plan, tmp_path / "killed", quiet=True))


@pytest.mark.parametrize("is_resumed", [True, False], ids=["resumed", "given"])
def test_other_kernels_than_those_of_the_plan_are_said(make_job: MakeJob, tmp_path: Path, monkeypatch, is_resumed):
    job, plan, said = make_job("steps=2"), native_plan(), []
    if is_resumed:
        killed_at(2, monkeypatch, lambda: train(job, plan, tmp_path / "run", quiet=True))
    monkeypatch.setattr(kernels(), "build", "another compiler, its flags, 0123456789ab")
    launch(job.recipe, job.dataset, job.device, tmp_path / "run", plan, log=said.append, quiet=True)
    (line,) = [line for line in said if line.startswith("The kernels")]
    assert f"compiled as {plan.rewrites.kernel_build}, and here as another compiler" in line


def test_a_checkpoint_from_before_early_stopping_is_resumed(make_job: MakeJob, tmp_path: Path, monkeypatch):
    job = make_job(*EVERYTHING)
    uninterrupted = train(job, PLAN, tmp_path / "uninterrupted", quiet=True)

    def without_scores(tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> Checkpoint:
        return Checkpoint(tensors, {key: value for key, value in metadata.items() if key != "scores"})

    with monkeypatch.context() as earlier:
        earlier.setattr(state, "Checkpoint", without_scores)
        killed_at(14, monkeypatch, lambda: train(job, PLAN, tmp_path / "killed", quiet=True))
    assert identical(uninterrupted, train(job, PLAN, tmp_path / "killed", quiet=True))


def test_a_run_may_be_interrupted_several_times(make_job: MakeJob, tmp_path: Path, monkeypatch):
    job = make_job(*EVERYTHING)
    uninterrupted = train(job, PLAN, tmp_path / "uninterrupted", quiet=True)
    for number in (8, 6, 5):
        killed_at(number, monkeypatch, lambda: train(job, PLAN, tmp_path / "killed", quiet=True))
    assert identical(uninterrupted, train(job, PLAN, tmp_path / "killed", quiet=True))


def test_a_checkpoint_is_written_after_each_epoch_and_only_the_last_ones_remain(make_job: MakeJob, tmp_path: Path):
    run = train(make_job("epochs=3", "checkpoints.keep=2"), PLAN, tmp_path / "run", quiet=True)
    names = {path.name for path in run.checkpoints.iterdir()}
    assert names == {"step-00000010.safetensors", "step-00000015.safetensors", "best.safetensors"}


def test_checkpoints_are_written_at_a_time_interval(make_job: MakeJob, tmp_path: Path):
    job = make_job("epochs=1", "checkpoints.keep=9", "checkpoints.every_seconds=1e-9")
    run = train(job, PLAN, tmp_path / "run", quiet=True)
    assert len(list(run.checkpoints.glob("step-*"))) == 5


def test_a_damaged_checkpoint_is_skipped_for_the_previous_one(make_job: MakeJob, tmp_path: Path, monkeypatch):
    job = make_job(*EVERYTHING)
    uninterrupted = train(job, PLAN, tmp_path / "uninterrupted", quiet=True)
    killed_at(14, monkeypatch, lambda: train(job, PLAN, tmp_path / "killed", quiet=True))
    newest = sorted(Run(tmp_path / "killed").checkpoints.glob("step-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = train(job, PLAN, tmp_path / "killed", quiet=True)
    assert read_history(resumed.journal).resumed[0]["step"] == 10
    assert identical(uninterrupted, resumed)


def test_unreadable_checkpoints_are_an_error_that_says_how_to_restart(make_job: MakeJob, tmp_path: Path, monkeypatch):
    job = make_job(*EVERYTHING)
    killed_at(14, monkeypatch, lambda: train(job, PLAN, tmp_path / "killed", quiet=True))
    for file in Run(tmp_path / "killed").checkpoints.glob("step-*"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"is damaged .*, and no older checkpoint can be read: remove .*checkpoints to"):
        train(job, PLAN, tmp_path / "killed", quiet=True)


def test_unreadable_best_weights_are_an_error_that_says_how_to_restart(make_job: MakeJob, tmp_path: Path, monkeypatch):
    job = make_job(*EVERYTHING)
    killed_at(14, monkeypatch, lambda: train(job, PLAN, tmp_path / "killed", quiet=True))
    best = Run(tmp_path / "killed").checkpoints / "best.safetensors"
    best.write_bytes(best.read_bytes()[:1000])
    with pytest.raises(
        UserError, match=r"best\.safetensors with the best weights is damaged .*: remove .*checkpoints to restart"
    ):
        train(job, PLAN, tmp_path / "killed", quiet=True)


def test_the_incomplete_checkpoint_of_a_killed_process_is_removed(make_job: MakeJob, tmp_path: Path, monkeypatch):
    job = make_job(*EVERYTHING)
    killed_at(14, monkeypatch, lambda: train(job, PLAN, tmp_path / "killed", quiet=True))
    incomplete = Run(tmp_path / "killed").checkpoints / ".step-00000015.safetensors.abc.part"
    incomplete.write_bytes(b"half")
    train(job, PLAN, tmp_path / "killed", quiet=True)
    assert not incomplete.exists()


def test_other_incomplete_files_of_a_killed_process_are_removed(make_job: MakeJob, tmp_path: Path, monkeypatch):
    killed_at(4, monkeypatch, lambda: train(make_job(), PLAN, tmp_path / "run", quiet=True))
    incomplete = tmp_path / "run" / ".report.html.abc.part"
    incomplete.write_bytes(b"half")
    train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_a_folder_in_which_another_process_trains_is_an_error_and_is_not_changed(
    make_job: MakeJob, tmp_path: Path, monkeypatch
):
    killed_at(4, monkeypatch, lambda: train(make_job(), PLAN, tmp_path / "run", quiet=True))
    holding = (
        "from pathlib import Path; from mixlab.runs.lease import lease\n"
        "with lease(Path('run')): print(flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", holding], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None and other.stdout.readline()
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(UserError, match=r"Another process \(process \d+ on .*\) is training in .*run: wait until it"):
        train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before
    other.communicate(b"\n")
    assert train(make_job(), PLAN, tmp_path / "run", quiet=True).state == "done"


def test_a_user_error_in_a_resumed_run_does_not_remove_the_folder(make_job: MakeJob, tmp_path: Path, monkeypatch):
    killed_at(1, monkeypatch, lambda: train(make_job(), PLAN, tmp_path / "run", quiet=True))
    monkeypatch.setattr(step, "accumulate_gradients", refusing)
    with pytest.raises(UserError, match=r"^late$"):
        train(make_job(), PLAN, tmp_path / "run", quiet=True)
    assert Run(tmp_path / "run").state == "stopped"


def refusing(*arguments: Any, **settings: Any) -> Any:
    raise UserError("late")


def test_another_recipe_is_an_error_that_lists_the_differences(make_job: MakeJob, tmp_path: Path, monkeypatch):
    killed_at(4, monkeypatch, lambda: train(make_job(*EVERYTHING), PLAN, tmp_path / "run", quiet=True))
    other = make_job(*EVERYTHING, "optimizer.learning_rate=0.5", "augmentation.pad_crop=1")
    differs = r"another recipe: optimizer\.learning_rate was 0\.01 and is 0\.5; augmentation\.pad_crop was 0 and is 1\."
    with pytest.raises(UserError, match=differs):
        train(other, PLAN, tmp_path / "run", quiet=True)


def test_other_images_are_an_error_that_lists_the_differences(make_job: MakeJob, shades, tmp_path: Path, monkeypatch):
    killed_at(4, monkeypatch, lambda: train(make_job(*EVERYTHING), PLAN, tmp_path / "run", quiet=True))
    fewer = replace(shades, splits=shades.splits | {"train": shades.splits["train"].subset(range(39))})
    with pytest.raises(UserError, match=r"on other images: images\.train was 40 and is 39; listing was"):
        train(make_job(*EVERYTHING, dataset=fewer), PLAN, tmp_path / "run", quiet=True)


@pytest.mark.parametrize("setting", ["workers=2", "checkpoints.keep=5"])
def test_settings_that_do_not_affect_the_weights_may_change(
    make_job: MakeJob, tmp_path: Path, monkeypatch, setting: str
):
    uninterrupted = train(make_job(*EVERYTHING), PLAN, tmp_path / "uninterrupted", quiet=True)
    killed_at(9, monkeypatch, lambda: train(make_job(*EVERYTHING), PLAN, tmp_path / "run", quiet=True))
    assert identical(uninterrupted, train(make_job(*EVERYTHING, setting), PLAN, tmp_path / "run", quiet=True))


def test_a_full_disk_is_a_user_error_and_the_last_checkpoint_remains(make_job: MakeJob, tmp_path: Path, monkeypatch):
    from mixlab.runs import checkpoints

    save, written = checkpoints.save, []

    def full(*arguments: Any) -> bytes:
        written.append(1)
        if len(written) > 4:
            raise OSError(28, "No space left on device")
        return save(*arguments)

    uninterrupted = train(make_job(*EVERYTHING), PLAN, tmp_path / "uninterrupted", quiet=True)
    with monkeypatch.context() as broken:
        broken.setattr(checkpoints, "save", full)
        with pytest.raises(UserError, match=r"could not be written: the disk is full"):
            train(make_job(*EVERYTHING), PLAN, tmp_path / "run", quiet=True)
    assert Run(tmp_path / "run").state == "stopped"
    assert identical(uninterrupted, train(make_job(*EVERYTHING), PLAN, tmp_path / "run", quiet=True))


def test_a_step_with_a_non_finite_gradient_is_skipped_if_the_recipe_says_so(
    make_job: MakeJob, tmp_path: Path, monkeypatch
):
    accumulate_gradients, calls = step.accumulate_gradients, []

    def with_nan(model: torch.nn.Module, *arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        loss, correct = accumulate_gradients(model, *arguments, **settings)
        if len(calls) == 4:
            next(model.parameters()).grad.mul_(float("nan"))  # pyright: ignore[reportOptionalMemberAccess]
        return loss, correct

    monkeypatch.setattr(step, "accumulate_gradients", with_nan)
    run = train(make_job("non_finite=skip"), PLAN, tmp_path / "run", quiet=True)
    (skipped,) = read_history(run.journal).skipped
    assert skipped["step"] == 4
    assert all(tensor.isfinite().all() for tensor in load_file(run.weights).values())
    end = read_history(run.journal).end
    assert end is not None and end["images"] == 5 * 8


def test_a_skipped_step_does_not_change_the_statistics_of_batch_normalisation(
    make_job: MakeJob, tmp_path: Path, monkeypatch
):
    """Statistics that are not finite would make every later output NaN."""
    accumulate_gradients, calls = step.accumulate_gradients, []

    def with_nan(model: torch.nn.Module, images: torch.Tensor, *arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        images = images * float("nan") if len(calls) == 4 else images
        return accumulate_gradients(model, images, *arguments, **settings)

    monkeypatch.setattr(step, "accumulate_gradients", with_nan)
    config = "config={ patch_size = 2, kernel_size = 3, channels = 8, depth = 1 }"
    run = train(make_job("model=convmixer_nano", config, "non_finite=skip"), PLAN, tmp_path / "run", quiet=True)
    assert len(read_history(run.journal).skipped) == 1
    assert all(tensor.isfinite().all() for tensor in load_file(run.weights).values())


def test_the_metadata_of_a_checkpoint_is_json(make_job: MakeJob, tmp_path: Path):
    from safetensors import safe_open

    run = train(make_job(), PLAN, tmp_path / "run", quiet=True)
    with safe_open(run.checkpoints / "step-00000006.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["facts"])["step"] == 6
