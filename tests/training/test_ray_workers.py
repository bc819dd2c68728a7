"""Trainings on a local Ray of two workers, from the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mixlab.cli.executors import with_ray_address
from mixlab.cli.main import main
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.training import ray_workers

pytest.importorskip("ray", reason='needs Ray: pip install "mixlab[ray]"')

CODE = """
from mixlab.models.mixer import Mixer, MixerConfig


def mine(config: MixerConfig) -> Mixer:
    return Mixer(config)
"""
MINE = "py:mine.py:mine:patch_size=4:channels=8:token_hidden=8:channel_hidden=8:depth=1"


@pytest.fixture
def environment(tmp_path: Path, pets: Path) -> dict[str, str]:
    """A store and a cache of this test. The command runs in the folder of pets/ and mine.py."""
    (tmp_path / "mine.py").write_text(CODE)
    return os.environ | {"MIXLAB_RUNS": str(tmp_path / "store"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def started(environment: dict[str, str], folder: Path, epochs: int, out: str) -> "subprocess.Popen[str]":
    words = ("compare", "--data", "folder:pets", "--models", f"mixer_nano,{MINE}", "--image-size", "8", "--seeds", "1")
    return subprocess.Popen(
        [sys.executable, "-m", "mixlab", *words, "--epochs", str(epochs), "--ray", "--out", out],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def running(store: Path, process: "subprocess.Popen[str]", after: int) -> dict[Path, dict[str, Any]]:
    """The holders of the leases by folder, as soon as two trainings have checkpoints of step `after` or later."""
    patience = time.monotonic() + 240
    while time.monotonic() < patience:
        assert process.poll() is None, process.communicate()
        folders = [folder for folder in store.glob("*-seed0-*") if checkpoint(folder) >= after]
        leases = [folder.with_name(f".{folder.name}.lease") for folder in folders]
        if len(folders) == 2 and all(file.exists() for file in leases):
            return {folder: json.loads(file.read_text()) for folder, file in zip(folders, leases, strict=True)}
        time.sleep(0.1)
    raise AssertionError(process.communicate())


def checkpoint(folder: Path) -> int:
    """The step of the last checkpoint; 0 without any."""
    return max((int(file.stem.removeprefix("step-")) for file in folder.glob("checkpoints/step-*")), default=0)


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM and no SIGKILL")
def test_a_signal_stops_all_workers_and_another_worker_continues_the_training_of_a_killed_one(environment, tmp_path):
    """Stopped with checkpoints by a signal, continued by the same command, and then one of its workers is killed."""
    process = started(environment, tmp_path, 300, "out")
    stopped = running(tmp_path / "store", process, after=5)
    process.terminate()
    _, log = process.communicate(timeout=120)
    assert process.returncode == 75, log
    assert log.splitlines()[-1] == (
        "mixlab: Stopped by SIGTERM. Finished trainings and the checkpoints of the others are stored: run the same "
        "command again to continue."
    )
    assert [Run(folder).state for folder in stopped] == ["stopped", "stopped"]
    assert not (tmp_path / "out").exists()
    at = {folder: checkpoint(folder) for folder in stopped}

    process = started(environment, tmp_path, 300, "out")
    held = running(tmp_path / "store", process, after=max(at.values()) + 15)
    killed, other = held
    before = checkpoint(killed)
    os.kill(held[killed]["process"], signal.SIGKILL)
    _, log = process.communicate(timeout=500)
    assert process.returncode == 0, log
    assert (tmp_path / "out" / "report.html").exists()
    assert [Run(folder).state for folder in held] == ["done", "done"]
    after_signal, after_kill = (each["step"] for each in read_history(Run(killed).journal).resumed)
    assert (after_signal, after_kill >= before) == (at[killed], True)
    assert [each["step"] for each in read_history(Run(other).journal).resumed] == [at[other]]
    plans = [Run(folder).plan for folder in held]
    assert plans[0]["precision"] == plans[1]["precision"] and [plan["threads"] for plan in plans] == [1, 1]


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ([], []),
        (["compare", "--ray"], ["compare", "--ray", "local"]),
        (["compare", "--ray", "--quiet"], ["compare", "--ray", "local", "--quiet"]),
        (["compare", "--ray", "auto", "--quiet"], ["compare", "--ray", "auto", "--quiet"]),
        (["compare", "--ray=auto"], ["compare", "--ray=auto"]),
    ],
    ids=" ".join,
)
def test_ray_without_an_address_is_a_cluster_on_this_machine(words, completed):
    assert with_ray_address(words) == completed


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["compare", "--data", "digits", *words])
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:ports", "nowhere.invalid:6379"])
def test_a_cluster_that_can_not_be_reached_is_one_sentence(capsys, tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    sentence = refusal(capsys, "--ray", address)
    assert sentence.startswith(f"mixlab: There is no Ray cluster at {address} (")
    assert "): start it with `ray start --head`, give the address" in sentence
    assert sentence.count("There is no Ray") == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_ray_is_one_sentence(capsys, tmp_path, monkeypatch):
    def missing(name: str) -> str:
        raise ray_workers.PackageNotFoundError(name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray_workers, "version", missing)
    sentence = 'mixlab: --ray needs Ray, which is not installed: pip install "mixlab[ray]"'
    assert refusal(capsys, "--ray") == sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--ray", "--jobs", "jobs"), "--jobs jobs and --ray both say where the trainings run: remove one of them."),
        (("--ray", "--minutes", "3"), "--minutes 3 needs all trainings on one machine, but --ray may use several"),
        (("--jobs", "jobs", "--match", "seconds"), "--match seconds needs all trainings on one machine, but --jobs"),
        (("--ray", "--models", "mixer_b16.goog_in1k"), "--ray local has no effect on published weights"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(capsys, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in refusal(capsys, *words)
    assert not list(tmp_path.iterdir())
