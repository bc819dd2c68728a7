"""`mixlab study`: what it prints and writes."""

import json
from functools import partial
from pathlib import Path

import pytest

from mixlab.evaluation.probes import features
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.studies import transfer
from mixlab.training.planning import autotune

STUDY = ("study", "resolution", "--data", "folder:pets", "--seeds", "2", "--epochs", "1", "--images", "8")


@pytest.mark.long
def test_a_study_prints_its_tables_and_writes_report_and_results(run, pets, monkeypatch):
    monkeypatch.setattr(autotune, "select_plan", lambda job, log, processes: (Plan("cpu", ComputeMode(), 8), 0.1))
    ended = run(*STUDY, "--out", "found", "--quiet")
    assert ended.status == 0
    assert "resampled, 24 px, tuned" in ended.out
    assert "Pair by pair" in ended.out
    assert ended.out.endswith("The report: found/report.html\n")
    results = json.loads(Path("found/results.json").read_text())
    assert (results["images"], results["terms"]["seeds"], len(results["arms"])) == (8, 2, 12)
    assert (
        "How does a change of the image size affect the accuracy of a Mixer?" in Path("found/report.html").read_text()
    )


@pytest.mark.long
def test_the_study_of_transfer_prints_its_tables_and_writes_report_and_results(run, monkeypatch):
    monkeypatch.setattr(autotune, "select_plan", lambda job, log, processes: (Plan("cpu", ComputeMode(), 20), 0.1))
    monkeypatch.setattr(features, "cache_folder", lambda: Path("cache"))
    monkeypatch.setattr(transfer, "TransferSettings", partial(transfer.TransferSettings, shots=4, tuning_epochs=1))
    few = ("--seeds", "2", "--epochs", "1", "--images", "50")
    ended = run("study", "transfer", "--data", "digits", *few, "--out", "found", "--quiet")
    assert ended.status == 0
    assert "from scratch, 5 times as long" in ended.out
    results = json.loads(Path("found/results.json").read_text())
    assert (results["images"], len(results["splits"]), len(results["arms"])) == (50, 2, 4)
    assert "Does knowledge carry over" in Path("found/report.html").read_text()


def test_transfer_wants_four_classes(run, pets):
    ended = run("study", "transfer", "--data", "folder:pets", "--out", "found")
    assert ended.status == 2
    assert "and 4 are the least" in ended.err


def test_an_unknown_question_is_refused(run):
    ended = run("study", "colour", "--data", "digits")
    assert ended.status == 2
    assert "resolution" in ended.err


def test_an_occupied_folder_is_refused_before_anything_is_trained(run, pets):
    Path("found").mkdir()
    Path("found/mine.txt").write_text("mine")
    ended = run(*STUDY, "--out", "found")
    assert ended.status == 2
    assert "never overwritten" in ended.err
