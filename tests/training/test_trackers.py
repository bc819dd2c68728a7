"""TensorBoard and W&B hear what the journal hears, and write it into the run's folder."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import Accelerator

from mixlab.errors import UserError
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import trackers
from mixlab.training.loop import train
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.training.run_writer import RunWriter
from mixlab.training.trackers import require_trackers, tracked


@pytest.fixture
def alone() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def asking(tiny_recipe: dict[str, Any]):
    """The tiny recipe with trackers."""

    def asking(*trackers: str) -> Recipe:
        return parse_training_recipe(tiny_recipe | {"trackers": trackers}, "tiny")

    return asking


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would show."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = accumulator.EventAccumulator(str(run / "tracking" / "tensorboard"))
    shown.Reload()
    return {tag: [(event.step, event.value) for event in shown.Scalars(tag)] for tag in shown.Tags()["scalars"]}


def test_without_trackers_nothing_is_written(asking, run, alone):
    with tracked(asking(), run, alone) as log:
        log({"loss": 1.0}, step=1)
    assert list(run.iterdir()) == []


def test_tensorboard_shows_numbers_by_step_and_those_within_others_by_a_slash(asking, run, alone):
    pytest.importorskip("tensorboard")
    with tracked(asking("tensorboard"), run, alone) as log:
        log({"loss": 2.0, "train": {"top1": 50.0}, "validation": None}, step=20)
        log({"loss": 1.0}, step=40)
    assert scalars(run) == {"loss": [(20, 2.0), (40, 1.0)], "train/top1": [(20, 50.0)]}


def test_after_an_interruption_what_came_after_the_checkpoint_is_struck_out(asking, run, alone):
    pytest.importorskip("tensorboard")
    with tracked(asking("tensorboard"), run, alone) as log:
        for step in (20, 40, 60):
            log({"loss": float(step)}, step=step)
    with tracked(asking("tensorboard"), run, alone, step=40) as log:
        log({"loss": 0.0}, step=60)
    assert scalars(run) == {"loss": [(20, 20.0), (40, 40.0), (60, 0.0)]}


def test_what_was_told_before_a_training_breaks_off_is_kept(asking, run, alone):
    pytest.importorskip("tensorboard")
    with pytest.raises(KeyboardInterrupt), tracked(asking("tensorboard"), run, alone) as log:
        log({"loss": 2.0}, step=20)
        raise KeyboardInterrupt
    assert scalars(run) == {"loss": [(20, 2.0)]}


def test_only_the_first_process_speaks(asking, run):
    pytest.importorskip("tensorboard")
    second: Any = SimpleNamespace(is_main_process=False)
    with tracked(asking("tensorboard"), run, second) as log:
        log({"loss": 1.0}, step=1)
    assert list(run.iterdir()) == []


def test_wandb_keeps_its_files_in_the_run_and_is_offline(asking, run, alone):
    pytest.importorskip("wandb", reason="needs wandb, of the extra `trackers`")
    with tracked(asking("wandb"), run, alone) as log:
        log({"loss": 1.0}, step=20)
    assert list((run / "tracking" / "wandb").glob("offline-run-*/run-*.wandb"))


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_with_the_line_that_installs_it(asking, monkeypatch, name):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf'contains "{name}", .* run `pip install "mixlab\[track\]"`'):
        require_trackers(asking(name))


def test_a_training_that_misses_a_package_writes_nothing(make_job, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    monkeypatch.setattr(RunWriter, "open", None)
    job = make_job("trackers=['wandb']")
    with pytest.raises(UserError, match="is not installed"):
        train(job, Plan("cpu", ComputeMode(), 8), tmp_path / "run", quiet=True)


def test_what_is_installed_is_not_refused(asking):
    installed = [name for name in ("tensorboard", "wandb") if importlib.util.find_spec(name)]
    require_trackers(asking(*installed))
