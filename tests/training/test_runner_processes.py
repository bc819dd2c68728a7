"""Trainings in separate processes, and trainings that another process holds."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from inline import silent, trained, two_at_a_time
from mixlab.data.sources import open_dataset
from mixlab.errors import Interrupted, UserError
from mixlab.runs import lease as lease_module
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.runs.lease import lease
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import runner
from mixlab.training.recipes.parse import parse_recipe
from mixlab.training.runner import plan_trainings, run_all

pytestmark = pytest.mark.usefixtures("store")
CPU = torch.device("cpu")


@contextmanager
def held_until(folder: Path, is_over: Callable[[], bool], result: Path | None) -> Iterator[None]:
    """Another thread holds the lease on `folder` until `is_over()`, and leaves a copy of `result` there, if any."""
    holds = threading.Event()

    def hold() -> None:
        with lease(folder):
            holds.set()
            patience = time.monotonic() + 60
            while not is_over() and time.monotonic() < patience:
                time.sleep(0.02)
            if result is not None:
                shutil.copytree(result, folder)

    (holder := threading.Thread(target=hold)).start()
    assert holds.wait(60)
    yield
    holder.join()


def test_the_result_of_a_training_in_another_process_is_used_last(make_trainings, started, tmp_path):
    trainings, lines = make_trainings(0, 1, 2), []
    trained(trainings[:1])
    result = tmp_path / "result"
    shutil.move(trainings[0].folder, result)
    started.clear()

    with held_until(trainings[0].folder, lambda: any("waiting" in line for line in lines), result):
        runs = list(run_all(trainings, log=lines.append, quiet=True))
    assert [place for place, _ in runs] == [1, 2, 0]
    assert lines[2] == "Another process is training mixer_nano, seed 0: waiting for its result."
    used = runs[2][1]
    assert used == Run(trainings[0].folder) and used.state == "done"
    assert used.weights.stat().st_mtime_ns == Run(result).weights.stat().st_mtime_ns
    assert used.journal.read_bytes() == Run(result).journal.read_bytes()


def test_a_training_that_another_process_has_just_started_also_comes_last(make_trainings, started, monkeypatch):
    trainings = make_trainings(0, 1)
    monkeypatch.setattr(runner, "is_held", lambda folder: False)
    with held_until(trainings[0].folder, lambda: Run(trainings[1].folder).is_finished, None):
        places = [place for place, _ in run_all(trainings, log=silent, quiet=True)]
    assert places == [1, 0]


def test_a_training_that_another_process_leaves_unfinished_is_continued(make_trainings, started):
    trainings, lines = make_trainings(0, 1), []
    with held_until(trainings[0].folder, lambda: any("waiting" in line for line in lines), None):
        runs = dict(run_all(trainings, log=lines.append, quiet=True))
    assert list(runs) == [1, 0]
    assert runs[0].state == "done"


def test_the_expired_lease_of_another_machine_is_taken_over(make_trainings, started, monkeypatch):
    monkeypatch.setattr(lease_module, "EXPIRY", 0.3)
    trainings = make_trainings(0, 1)
    folder = trainings[0].folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    holder = {"token": "abc", "machine": "elsewhere 1 2", "process": 1, "started": 0.0}
    folder.with_name(f".{folder.name}.lease").write_text(json.dumps(holder))
    runs = trained(trainings)
    assert list(runs) == [1, 0]
    assert runs[0].state == "done"


@pytest.mark.long
def test_a_separate_process_gives_the_same_weights_and_its_own_peak_memory(tiny_recipe, tmp_path):
    held = np.ones(2**27)  # a gibibyte that must not count as memory of the trainings
    recipe = parse_recipe(tiny_recipe | {"data": "digits", "steps": 20, "batch": 64}, "tiny")
    plans = [Plan("cpu", ComputeMode(), size) for size in (64, 64, 32)]
    (training, *_) = plan_trainings([recipe], open_dataset("digits"), CPU, silent)
    in_processes = trained([replace(training, plan=plan) for plan in plans[1:]])
    here = Run(tmp_path / "here")
    runner.train_recipe(recipe, plans[0], here.path, waits=False)
    first, second = load_file(in_processes[0].weights), load_file(here.weights)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    peaks = [(read_history(run.journal).end or {})["peak_bytes"] for run in (*in_processes.values(), here)]
    assert held.nbytes < peaks[-1]
    assert all(peak < peaks[-1] - 2**29 for peak in peaks[:-1])


def workers() -> list[psutil.Process]:
    """The processes of the trainings, which are children of the fork server."""
    return [worker for server in psutil.Process().children() for worker in server.children()]


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_a_signal_to_one_of_two_trainings_stops_both_and_they_can_be_resumed(make_trainings):
    trainings = two_at_a_time(make_trainings({"steps": 100_000}, {"steps": 100_000, "seed": 1}))

    def stop_one() -> None:
        patience = time.monotonic() + 60
        journals = [Run(each.folder).journal for each in trainings]
        while time.monotonic() < patience and not all(read_history(journal).steps for journal in journals):
            time.sleep(0.1)
        workers()[0].terminate()

    (stopper := threading.Thread(target=stop_one)).start()
    with pytest.raises(Interrupted, match="SIGTERM"):
        trained(trainings)
    stopper.join()
    assert [Run(each.folder).state for each in trainings] == ["stopped", "stopped"]
    patience = time.monotonic() + 30
    while workers():
        assert time.monotonic() < patience
        time.sleep(0.1)


@pytest.mark.long
def test_a_user_error_in_a_separate_process_is_not_changed(make_trainings, pets):
    trainings = make_trainings(0)
    shutil.rmtree(pets)
    with pytest.raises(UserError, match=f"folder:{pets} does not exist"):
        trained(trainings)
    assert not trainings[0].folder.exists()
