"""--jobs for all commands that train many models, with a model in a file of the user."""

import shlex
from pathlib import Path

import pytest

from mixlab.speed.plan import ComputeMode
from mixlab.training.planning import autotune
from mixlab.training.planning.autotune import Timings
from mixlab.zoo import user_code

MINE = "py:mine.py:Mine"
CODE = """
from dataclasses import dataclass

from mixlab.models.mixer import Mixer, MixerConfig


@dataclass(frozen=True, kw_only=True)
class Config(MixerConfig):
    patch_size: int = 4
    channels: int = 8
    token_hidden: int = 8
    channel_hidden: int = 8
    depth: int = 1


class Mine(Mixer):
    def __init__(self, config: Config):
        super().__init__(config)
"""


@pytest.fixture(autouse=True)
def on_a_new_machine(here, monkeypatch) -> None:
    """Nothing is trusted, and no compute mode is timed."""
    monkeypatch.setattr(user_code, "_trusts_all", False)
    monkeypatch.setattr(user_code, "cache_folder", lambda: here / "cache-of-trust")
    monkeypatch.setattr(
        autotune, "time_job", lambda job, log, *rest: Timings(min(job.batch, 20), "released", {ComputeMode(): 0.01})
    )
    (here / "mine.py").write_text(CODE)


def run_lines(run, jobs: str) -> list[int]:
    """The exit statuses of all commands of the list, each as on a machine that trusts nothing."""
    statuses = []
    for command in Path(jobs, "jobs.txt").read_text().splitlines():
        words = shlex.split(command)
        statuses.append(run(*words[words.index("mixlab") + 1 :], "--quiet").status)
        user_code._trusts_all = False
    return statuses


def test_a_comparison_with_a_model_of_the_user_is_listed_and_collected(run, pets, here):
    words = ("compare", "--data", "folder:pets", "--models", f"mixer_nano,{MINE}", "--image-size", "8")
    words = (*words, "--epochs", "1", "--seeds", "1", "--out", "out", "--jobs", "jobs", "--quiet")
    listed = run(*words)
    assert (listed.status, listed.err) == (75, "")
    assert listed.out.startswith("0 of 2 trainings finished, 2 not started; the store is ")
    assert not Path("out").exists() and not Path("runs").exists()
    commands = Path("jobs/jobs.txt").read_text().splitlines()
    assert ["--trust-code" in command for command in commands].count(True) == 1
    assert run_lines(run, "jobs") == [0, 0]
    assert next(Path("runs").glob("mine.py-Mine-*/architecture.py")).read_text() == CODE
    collected = run(*words)
    assert (collected.status, Path("out/report.html").exists()) == (0, True), collected.err


@pytest.mark.long
def test_tuning_is_a_stage_of_its_own(run, pets):
    words = ("compare", "--data", "folder:pets", "--models", f"mixer_nano,{MINE}", "--image-size", "8")
    words = (*words, "--epochs", "1", "--seeds", "1", "--tune", "2", "--out", "out", "--jobs", "jobs", "--quiet")
    assert "12 not started" in run(*words).out
    assert set(run_lines(run, "jobs")) == {0}
    second = run(*words)
    assert second.status == 75 and "lines 13-14 of jobs/jobs.txt" in second.out
    assert set(run_lines(run, "jobs")) == {0}
    assert run(*words).status == 0 and Path("out/report.html").exists()


def test_labels_are_found_with_a_list_of_jobs(run, pets):
    words = ("data", "labels", "folder:pets", "--model", MINE, "--folds", "2", "--out", "out", "--jobs", "jobs")
    listed = run(*words, "--quiet")
    assert (listed.status, listed.out[:26]) == (75, "0 of 2 trainings finished,"), listed.err
    assert run_lines(run, "jobs") == [0, 0]
    assert run(*words, "--quiet").status == 0


@pytest.mark.long
def test_a_study_lists_each_stage_when_the_one_before_is_finished(run, pets):
    words = ("study", "resolution", "--data", "folder:pets", "--seeds", "2", "--epochs", "1", "--images", "8")
    words = (*words, "--out", "out", "--jobs", "jobs", "--quiet")
    counts = []
    while (ended := run(*words)).status == 75:
        counts.append(len(Path("jobs/jobs.txt").read_text().splitlines()))
        assert set(run_lines(run, "jobs")) == {0}
    assert ended.status == 0, ended.err
    assert len(counts) == 2 and counts[0] < counts[1]


def test_code_of_the_user_that_a_job_names_is_run_only_with_trust(run, pets, monkeypatch, here):
    words = ("compare", "--data", "folder:pets", "--models", f"mixer_nano,{MINE}", "--image-size", "8")
    assert run(*words, "--epochs", "1", "--seeds", "1", "--jobs", "jobs", "--quiet").status == 75
    monkeypatch.setattr(user_code, "cache_folder", lambda: here / "cache-of-another-machine")
    (command,) = [line for line in Path("jobs/jobs.txt").read_text().splitlines() if "--trust-code" in line]
    arguments = shlex.split(command.replace(" --trust-code", ""))
    ended = run(*arguments[arguments.index("mixlab") + 1 :], "--quiet")
    assert ended.status == 2 and "architecture.py is a model's code that was not run on this machine" in ended.err


def test_a_plan_without_effect_is_refused(refused):
    assert refused("train", "--resume", "run", "--plan", "plan.json") == (
        "--plan plan.json has no effect with --resume, which has a plan: remove it."
    )
