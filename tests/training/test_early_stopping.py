"""Early stopping: the rule, the journal, resuming, and trainings without it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import loop
from mixlab.training.early_stopping import stops_early
from mixlab.training.loop import train
from mixlab.training.recipes.schema import EarlyStopping
from mixlab.training.run_writer import RunWriter
from mixlab.training.validation import Validation

PLAN = Plan("cpu", ComputeMode(), 8)
SETTINGS = ("epochs=8", "early_stopping.patience=2")


@pytest.mark.parametrize(
    ("scores", "min_delta", "expected"),
    [
        ([], 0, False),
        ([50], 0, False),
        ([50, 50], 0, False),
        ([50, 50, 50], 0, True),
        ([50, 40, 51], 0, False),
        ([50, 40, 51, 51, 50], 0, True),
        ([50, 51, 51], 1, True),
        ([50, 50.6, 51.2], 1, False),  # slowly, but steadily
    ],
)
def test_a_training_stops_after_patience_validations_without_an_improvement_by_more_than_min_delta(
    scores, min_delta, expected
):
    assert stops_early(EarlyStopping(patience=2, min_delta=min_delta), scores) == expected


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation accuracies that do not depend on the model: the best one is that of the second epoch."""
    results = {1: 40.0, 2: 60.0, 3: 50.0, 4: 60.0, 5: 70.0}
    folders: list[Path] = []
    start = RunWriter.checkpoints

    def accuracy(validation: Validation, predict: Any) -> tuple[dict[str, float], dict[str, Any]]:
        (folder,) = folders
        return {"top1": results[len(read_history(Run(folder).journal).epochs) + 1], "images": 12}, {}

    def checkpoints(writer: RunWriter) -> Any:
        folders[:] = [writer.run.path]
        return start(writer)

    monkeypatch.setattr(RunWriter, "checkpoints", checkpoints)
    monkeypatch.setattr(Validation, "evaluate", accuracy)


@pytest.mark.usefixtures("scores")
def test_the_journal_has_the_epoch_and_the_best_weights_are_stored(make_job, tmp_path):
    run = train(make_job(*SETTINGS), PLAN, tmp_path / "run", quiet=True)
    history = read_history(run.journal)
    assert run.state == "done"
    assert [epoch["epoch"] for epoch in history.epochs] == [1, 2, 3, 4]
    assert [(line["epoch"], line["step"]) for line in history.stopped_early] == [(4, 20)]
    assert ", early after epoch 4. The weights of the run" in run.report.read_text()
    assert history.best is not None and history.best["epoch"] == 4  # on a tie the later weights are stored


@pytest.mark.usefixtures("scores")
@pytest.mark.parametrize("step", [3, 12, 15, 18, 20])
def test_a_resumed_training_stops_at_the_same_epoch_with_the_same_weights(make_job, tmp_path, monkeypatch, step):
    job = make_job(*SETTINGS, "checkpoints.every_steps=1")
    whole = train(job, PLAN, tmp_path / "whole", quiet=True)
    calls: list[int] = []
    take = loop.TrainStep.__call__

    def failing(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == step + 1:
            raise KeyboardInterrupt
        return take(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr(loop.TrainStep, "__call__", failing)
        if step == 20:  # after the last checkpoint, before the end of the training
            broken.setattr(RunWriter, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(job, PLAN, tmp_path / "resumed", quiet=True)
    resumed = train(job, PLAN, tmp_path / "resumed", quiet=True)
    first, second = load_file(whole.weights), load_file(resumed.weights)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [line["epoch"] for line in read_history(resumed.journal).stopped_early][-1] == 4
    assert len(read_history(resumed.journal).epochs) == 4


def test_patience_counts_validations(make_job, tmp_path, monkeypatch):
    monkeypatch.setattr(Validation, "evaluate", lambda self, predict: ({"top1": 40.0, "images": 12}, {}))
    job = make_job("epochs=20", "validate_every=3", "early_stopping.patience=2")
    history = read_history(train(job, PLAN, tmp_path / "run", quiet=True).journal)
    assert [line["epoch"] for line in history.stopped_early] == [9]  # validated after epochs 3, 6 and 9
    assert history.end is not None and history.epochs[-1]["step"] == 9 * 5


def test_a_training_that_does_not_stop_early_has_the_weights_of_one_without_the_key(make_job, tmp_path):
    with_key = train(make_job("early_stopping.patience=100"), PLAN, tmp_path / "with", quiet=True)
    without = train(make_job(), PLAN, tmp_path / "without", quiet=True)
    first, second = load_file(with_key.weights), load_file(without.weights)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert read_history(with_key.journal).stopped_early == []


def test_merged_validation_is_refused(make_job):
    with pytest.raises(
        UserError, match=r'\[early_stopping\] and validation="merged" can\'t be combined: .* no accuracy'
    ):
        make_job("early_stopping.patience=2", "validation=merged")
