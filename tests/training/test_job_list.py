"""Lists of jobs: what is written, what its commands do, and how the results are collected."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from inline import silent
from mixlab.cli.main import main
from mixlab.data.sources import open_dataset
from mixlab.errors import Incomplete, UserError
from mixlab.runs import lease as lease_module
from mixlab.runs.folder import Run
from mixlab.runs.lease import lease
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import job_list
from mixlab.training.executor import trained_by
from mixlab.training.job_list import JobList, read_plan
from mixlab.training.planning.concurrency import Planned
from mixlab.training.planning.stored_plans import stored_plans
from mixlab.training.recipes.parse import parse_recipe
from mixlab.training.runner import plan_trainings, run_all
from mixlab.training.training import Training
from mixlab.zoo.architecture import trust_named_code

CPU = torch.device("cpu")

CODE = """
from mixlab.models.mixer import Mixer, MixerConfig

def mine(config: MixerConfig):
    return Mixer(config)
"""

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def jobs(tmp_path) -> Path:
    return tmp_path / "jobs"


def listed(jobs: Path, make_trainings, *given) -> tuple[list[int], str]:
    """The trainings that are taken from the store, and the message about the others, empty without any."""
    found = []
    with trained_by(JobList(jobs)):
        trainings = make_trainings(*given)
        try:
            found += [index for index, _ in run_all(trainings, log=silent, quiet=True)]
        except Incomplete as incomplete:
            return found, str(incomplete)
    return found, ""


def commands(jobs: Path) -> list[str]:
    return (jobs / "jobs.txt").read_text().splitlines()


def run_line(command: str) -> int:
    """Run a command of the list in this process, and return its exit status."""
    words = shlex.split(command)
    with pytest.raises(SystemExit) as ended:
        main([*words[words.index("mixlab") + 1 :], "--quiet"])
    return ended.value.code  # pyright: ignore[reportReturnType]


def test_every_missing_training_gets_a_command_and_nothing_is_trained(jobs, make_trainings, store):
    found, message = listed(jobs, make_trainings, 0, 1, 2)
    assert found == [] and not store.exists()
    assert len(commands(jobs)) == 3
    assert message == (
        f"0 of 3 trainings finished, 3 not started; the store is {store}. Start the missing ones, lines 1-3 of "
        f"{jobs}/jobs.txt, for example with `sbatch --array=1-3 {jobs}/array.sh`, then run the same command again."
    )
    assert "sbatch" in (jobs / "README.txt").read_text() and str(store) in (jobs / "README.txt").read_text()


def test_the_commands_train_in_the_store_and_the_same_call_collects_the_results(jobs, make_trainings, store):
    listed(jobs, make_trainings, 0, 1)
    first, second = commands(jobs)
    assert run_line(first) == 0
    found, message = listed(jobs, make_trainings, 0, 1)
    assert found == [], "the results are collected when all are there, so that none is evaluated twice"
    assert message.startswith("1 of 2 trainings finished, 1 not started; ") and "lines 2 of" in message
    assert run_line(second) == 0
    assert listed(jobs, make_trainings, 0, 1) == ([0, 1], "")
    plans = [Run(folder).plan for folder in sorted(store.glob("*-seed*"))]
    assert plans[0] == plans[1] and plans[0]["threads"] == torch.get_num_threads()


def test_a_finished_command_ends_at_once_when_it_is_run_again(jobs, make_trainings, store):
    listed(jobs, make_trainings, 0)
    assert [run_line(commands(jobs)[0])] == [0]
    (weights,) = store.glob("*/model.safetensors")
    written = weights.stat().st_mtime_ns
    assert run_line(commands(jobs)[0]) == 0
    assert weights.stat().st_mtime_ns == written


def test_lines_do_not_move_and_new_ones_are_appended(jobs, make_trainings):
    listed(jobs, make_trainings, 0, 1)
    before = commands(jobs)
    assert run_line(before[0]) == 0
    _, message = listed(jobs, make_trainings, 2, 1, 0)
    assert commands(jobs)[:2] == before and len(commands(jobs)) == 3
    assert "lines 2-3 of" in message
    assert "#SBATCH --array=2-3\n" in (jobs / "array.sh").read_text(), "those that are missing"


def test_a_training_keeps_its_line_if_its_command_would_be_another_one_here(jobs, make_trainings, monkeypatch):
    listed(jobs, make_trainings, 0, 1)
    before = commands(jobs)
    monkeypatch.setenv("MIXLAB_DATA", "elsewhere")
    monkeypatch.setattr("sys.executable", "/usr/bin/other-python")
    listed(jobs, make_trainings, 0, 1, 2)
    assert commands(jobs)[:2] == before and len(commands(jobs)) == 3
    assert f"env MIXLAB_DATA={Path('elsewhere').resolve()} /usr/bin/other-python" in commands(jobs)[2]


def test_a_failed_line_is_named_with_the_last_line_that_it_printed(jobs, make_trainings):
    listed(jobs, make_trainings, 0, 1)
    log = jobs / "logs" / "2.txt"
    log.write_text("epoch 1 of 2\nmixlab: The disk is full.\n\n")
    _, message = listed(jobs, make_trainings, 0, 1)
    assert message.startswith("0 of 2 trainings finished, 1 failed, 1 not started; ")
    assert f'Line 2 ended with "mixlab: The disk is full." ({log}).' in message and "lines 1-2 of" in message


def test_a_training_that_diverged_has_failed(jobs, make_trainings):
    listed(jobs, make_trainings, 0)
    with trained_by(JobList(jobs)):
        (training,) = make_trainings(0)
    training.folder.mkdir(parents=True)
    (training.folder / "status.json").write_text('{"format": 1, "state": "stopped"}')
    (training.folder / "postmortem.json").write_text("{}")
    _, message = listed(jobs, make_trainings, 0)
    assert message.startswith("0 of 1 training finished, 1 failed; ") and 'ended with ""' not in message


def test_a_run_that_was_removed_is_not_started(jobs, make_trainings, store):
    listed(jobs, make_trainings, 0)
    assert run_line(commands(jobs)[0]) == 0
    (run,) = store.glob("*-seed0-*")
    (jobs / "logs" / "1.txt").write_text(f"step 6 of 6\n{run.resolve()}\n")
    shutil.rmtree(run)
    _, message = listed(jobs, make_trainings, 0)
    assert message.startswith("0 of 1 training finished, 1 not started; ")


def test_a_folder_that_can_not_be_written_is_refused_before_anything_is_measured(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written: a component of the path is a file"):
        JobList(tmp_path / "file" / "jobs")


def test_two_commands_at_the_same_time_have_the_plans_of_the_first(jobs, make_trainings):
    with trained_by(JobList(jobs)):
        given = [training.job for training in make_trainings(0)]
    others = [[(Plan("cpu", ComputeMode(precision), 8), 0.1)] for precision in ("fp32", "bf16")]

    def decide_later() -> Planned:
        assert stored_plans(jobs / "new", given, lambda: others[0]) == others[0]
        return others[1]

    assert stored_plans(jobs / "new", given, decide_later) == others[0]


def test_the_plans_are_decided_once(jobs, make_trainings, monkeypatch):
    listed(jobs, make_trainings, 0, 1)
    monkeypatch.delattr(job_list, "select_common_plans")
    _, message = listed(jobs, make_trainings, 0, 1, 2)
    assert message.startswith("0 of 3"), "another seed has the same plan"


def test_plans_for_a_gpu_are_collected_on_a_machine_without_one(jobs, make_trainings, monkeypatch):
    plan = Plan("cuda", ComputeMode("bf16"), 8)
    with monkeypatch.context() as on_gpu:
        on_gpu.setattr(job_list, "select_common_plans", lambda given, log: [(plan, 0.1)] * len(given))
        listed(jobs, make_trainings, 0)
    _, message = listed(jobs, make_trainings, 0)
    assert message.startswith("0 of 1 training finished, 1 not started")
    assert commands(jobs)[0].endswith("--device cuda")
    assert "#SBATCH --gres=gpu:1\n" in (jobs / "array.sh").read_text()
    sentence = (
        "are for cuda, and the compute mode of the next ones .* this machine has cpu: run the command on a machine"
    )
    with pytest.raises(UserError, match=sentence):
        listed(jobs, make_trainings, {"image_size": 16})


def test_running_and_interrupted_trainings_are_counted(jobs, make_trainings, monkeypatch):
    listed(jobs, make_trainings, 0, 1)
    with trained_by(JobList(jobs)):
        running, interrupted = make_trainings(0, 1)
    interrupted.folder.mkdir(parents=True)
    (interrupted.folder / "status.json").write_text('{"format": 1, "state": "stopped"}')
    with lease(running.folder):
        _, message = listed(jobs, make_trainings, 0, 1)
        assert message.startswith("0 of 2 trainings finished, 1 running, 1 interrupted; ") and "lines 2 of" in message
        _, message = listed(jobs, make_trainings, 0)
        assert message.endswith("Run the same command again when they have ended.")
    holder = {"token": "abc", "machine": "elsewhere 1 2", "process": 1, "started": 0.0}
    file = running.folder.with_name(f".{running.folder.name}.lease")
    file.write_text(json.dumps(holder))
    os.utime(file, (0, file.stat().st_mtime - lease_module.EXPIRY))
    _, message = listed(jobs, make_trainings, 0)
    assert ", 1 not started; " in message, "the machine that trained it has failed"


def test_the_code_of_the_user_is_copied_and_its_command_carries_the_trust(jobs, make_trainings, tmp_path, monkeypatch):
    monkeypatch.setattr("mixlab.zoo.user_code.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("mixlab.zoo.user_code._trusts_all", False)
    file = tmp_path / "mine.py"
    file.write_text(CODE)
    trust_named_code(f"py:{file}:mine")
    listed(jobs, make_trainings, {"model": f"py:{file}:mine"})
    source = file.read_text()
    file.write_text(source.replace("Mixer(config)", "Mixer(config).train()"))
    monkeypatch.setattr("mixlab.zoo.user_code.cache_folder", lambda: tmp_path / "cache-of-another-machine")
    (command,) = commands(jobs)
    assert "--trust-code" in command
    assert run_line(command) == 0
    file.write_text(source)
    trust_named_code(f"py:{file}:mine")
    assert listed(jobs, make_trainings, {"model": f"py:{file}:mine"}) == ([0], "")


def test_a_linear_probe_is_a_job_too(jobs, make_trainings, started, pets):
    (source,) = [run for _, run in run_all(make_trainings(0), log=silent, quiet=True)]
    probe = {"model": "mixer_nano", "data": f"folder:{pets}", "initialization": {"weights": str(source.path)}}
    recipe, dataset = parse_recipe(probe | {"linear_probe": {}}, "probe"), open_dataset(f"folder:{pets}")

    def make(*_: object) -> list[Training]:
        return plan_trainings([recipe], dataset, CPU, silent)

    listed(jobs, make)
    assert run_line(commands(jobs)[0]) == 0
    assert listed(jobs, make) == ([0], "")


def test_a_folder_with_other_files_is_refused(jobs):
    jobs.mkdir()
    (jobs / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not a folder of jobs: give a new folder"):
        JobList(jobs)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"There is no file .*: give the plan\.json of a run or of a job\.$"),
        ("{", r"is not a plan: give"),
        ("[]", r"is not a plan: give"),
        ('{"device": "cpu"}', r"is not a plan: give"),
        (Plan("cuda", ComputeMode(), 8).to_dict(), r"is a plan for cuda, but the training would run on cpu: add"),
        (
            {"versions": {"torch": "1.0", "sources": ""}},
            r"This machine has PyTorch .* has 1\.0: install the same",
        ),
        (
            {"versions": {"torch": torch.__version__, "sources": ""}},
            r"This machine has another version of mixlab",
        ),
    ],
    ids=["missing", "cut", "a list", "incomplete", "another device", "another PyTorch", "another mixlab"],
)
def test_a_plan_that_does_not_fit_is_refused(tmp_path, content, sentence):
    file = tmp_path / "plan.json"
    if isinstance(content, dict):
        content = json.dumps(Plan("cpu", ComputeMode(), 8).to_dict() | content)
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=sentence):
        read_plan(file, CPU)


@pytest.mark.long
@pytest.mark.parametrize(("status", "requeued"), [(0, ""), (75, "requeue 12_2\n"), (2, "")])
def test_the_array_script_runs_its_line_on_all_cores_of_the_job_and_requeues_a_stopped_one(
    jobs, make_trainings, tmp_path, monkeypatch, status, requeued
):
    listed(jobs, make_trainings, 0, 1)
    (jobs / "jobs.txt").write_text(f"exit 9\nenv GIVEN='a b' sh -c 'echo \"$GIVEN\" > ran; exit {status}'\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    srun = '[ "$1" = --cpus-per-task=3 ] && shift && exec "$@"'
    for name, script in (("srun", srun), ("scontrol", 'echo "$@" >> requeued')):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    variables = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_JOB_ID": "12", "SLURM_CPUS_PER_TASK": "3"}
    ended = subprocess.run(["bash", jobs / "array.sh"], cwd=tmp_path, env=os.environ | variables, check=False)
    assert ended.returncode == status
    assert (tmp_path / "ran").read_text() == "a b\n"
    assert ((tmp_path / "requeued").read_text() if requeued else "") == requeued
    assert (tmp_path / "requeued").exists() == bool(requeued)
