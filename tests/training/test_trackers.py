"""TensorBoard and W&B log the values of the journal into the run's folder."""

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
def make_recipe(tiny_recipe: dict[str, Any]):
    """The tiny recipe with trackers."""

    def make_recipe(*trackers: str) -> Recipe:
        return parse_training_recipe(tiny_recipe | {"trackers": trackers}, "tiny")

    return make_recipe


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The values that TensorBoard shows, by tag."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = accumulator.EventAccumulator(str(run / "tracking" / "tensorboard"))
    shown.Reload()
    return {tag: [(event.step, event.value) for event in shown.Scalars(tag)] for tag in shown.Tags()["scalars"]}


def test_without_trackers_nothing_is_written(make_recipe, run, alone):
    with tracked(make_recipe(), run, alone) as log:
        log({"loss": 1.0}, step=1)
    assert list(run.iterdir()) == []


def test_tensorboard_shows_values_by_step_and_nested_names_with_a_slash(make_recipe, run, alone):
    pytest.importorskip("tensorboard")
    with tracked(make_recipe("tensorboard"), run, alone) as log:
        log({"loss": 2.0, "train": {"top1": 50.0}, "validation": None}, step=20)
        log({"loss": 1.0}, step=40)
    assert scalars(run) == {"loss": [(20, 2.0), (40, 1.0)], "train/top1": [(20, 50.0)]}


def test_after_an_interruption_values_after_the_checkpoint_are_discarded(make_recipe, run, alone):
    pytest.importorskip("tensorboard")
    with tracked(make_recipe("tensorboard"), run, alone) as log:
        for step in (20, 40, 60):
            log({"loss": float(step)}, step=step)
    with tracked(make_recipe("tensorboard"), run, alone, step=40) as log:
        log({"loss": 0.0}, step=60)
    assert scalars(run) == {"loss": [(20, 20.0), (40, 40.0), (60, 0.0)]}


def test_values_logged_before_an_interruption_are_written(make_recipe, run, alone):
    pytest.importorskip("tensorboard")
    with pytest.raises(KeyboardInterrupt), tracked(make_recipe("tensorboard"), run, alone) as log:
        log({"loss": 2.0}, step=20)
        raise KeyboardInterrupt
    assert scalars(run) == {"loss": [(20, 2.0)]}


def test_only_the_main_process_logs(make_recipe, run):
    pytest.importorskip("tensorboard")
    second: Any = SimpleNamespace(is_main_process=False)
    with tracked(make_recipe("tensorboard"), run, second) as log:
        log({"loss": 1.0}, step=1)
    assert list(run.iterdir()) == []


def test_wandb_writes_offline_files_into_the_run(make_recipe, run, alone):
    pytest.importorskip("wandb", reason="needs wandb, of the extra `trackers`")
    with tracked(make_recipe("wandb"), run, alone) as log:
        log({"loss": 1.0}, step=20)
    assert list((run / "tracking" / "wandb").glob("offline-run-*/run-*.wandb"))


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_with_the_install_command(make_recipe, monkeypatch, name):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf'contains "{name}", .* run `pip install "mixlab\[track\]"`'):
        require_trackers(make_recipe(name))


def test_a_training_without_the_package_writes_no_files(make_job, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    monkeypatch.setattr(RunWriter, "open", None)
    job = make_job("trackers=['wandb']")
    with pytest.raises(UserError, match="is not installed"):
        train(job, Plan("cpu", ComputeMode(), 8), tmp_path / "run", quiet=True)


def test_installed_packages_are_accepted(make_recipe):
    installed = [name for name in ("tensorboard", "wandb") if importlib.util.find_spec(name)]
    require_trackers(make_recipe(*installed))
