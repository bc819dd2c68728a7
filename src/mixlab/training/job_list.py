"""Lists of jobs: an `Executor` that trains nothing, but writes a command for every training, for any scheduler.

DIR/
  README.txt          how to run the commands
  jobs.txt            one `mixlab train` command per line, in an order that never changes
  array.sh            an array job of Slurm: each task runs one line
  plans/              the plans of all trainings, decided once
  NAME/               one training: recipe.toml, plan.json, and the code of the model if it is the user's
  logs/               what the tasks of array.sh print

The commands train in the store, where the same command with the same DIR finds the results.
"""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import tomli_w
import torch

from mixlab.errors import Incomplete, UserError
from mixlab.files import require_writable, translate_read_errors, write_json, write_text
from mixlab.report.progress import Log
from mixlab.report.text import pluralize
from mixlab.runs.folder import Run
from mixlab.runs.lease import is_updated
from mixlab.runs.store import store_folder
from mixlab.speed.plan import Plan
from mixlab.training.executor import data_variables
from mixlab.training.job import Job
from mixlab.training.linear_probe.train import LinearProbeJob
from mixlab.training.planning.autotune import select_common_plans
from mixlab.training.planning.concurrency import Planned
from mixlab.training.planning.stored_plans import require_same_versions, stored_plans, versions
from mixlab.training.training import Training

State = Literal["running", "interrupted", "failed", "not started"]

_GPU_CORES = 4
"""Cores that array.sh requests beside a GPU, to read and augment images."""


@dataclass(frozen=True)
class JobList:
    """Commands for the missing trainings, in `folder`."""

    folder: Path

    def __post_init__(self) -> None:
        is_ours = self._commands.exists() or self._plans.exists()
        if self.folder.is_file() or (self.folder.is_dir() and any(self.folder.iterdir()) and not is_ours):
            raise UserError(
                f"--jobs {self.folder} exists and is not a folder of jobs: give a new folder, or that of an earlier "
                "command to collect its results."
            )
        require_writable(self.folder)

    def plan(self, jobs: Sequence[Job], log: Log, *, seeds: int) -> Planned:
        """The stored plans, or the fastest ones on this machine, with its number of CPU threads.

        Raises UserError if the folder has plans for another type of device only.
        """

        def decide() -> Planned:
            self._require_device(jobs[0].device)
            log("The jobs get the compute mode that is fastest on this machine:")
            planned = select_common_plans(jobs, log)
            log(f"  {planned[0][0]}, on {jobs[0].device.type}")
            return planned

        return stored_plans(self._plans, jobs, decide)

    def workers(self, missing: Sequence[Training], total: int) -> NoReturn:
        """Write what the missing trainings need. Raises Incomplete, with what to do next."""
        for training in missing:
            self._write_training(training)
        numbers = self._write_commands(missing)
        write_text(self.folder / "array.sh", _array_script(self.folder.resolve(), missing, _ranges(sorted({*numbers}))))
        write_text(self.folder / "README.txt", _readme(self.folder.resolve()))
        (self.folder / "logs").mkdir(exist_ok=True)
        states: dict[int, State] = {
            number: state(training, _log(self.folder, number))
            for number, training in zip(numbers, missing, strict=True)
        }
        raise Incomplete(_next_step(self.folder, states, total))

    @property
    def _commands(self) -> Path:
        return self.folder / "jobs.txt"

    @property
    def _plans(self) -> Path:
        return self.folder / "plans"

    def _require_device(self, device: torch.device) -> None:
        stored = next(iter(sorted(self._plans.glob("*.json"))), None)
        if stored is None:
            return
        first = next(iter(json.loads(stored.read_text(encoding="utf-8")).values()))
        if first["device"] != device.type:
            raise UserError(
                f"The jobs in {self.folder} are for {first['device']}, and the compute mode of the next ones has to be "
                f"measured on the same type of device, but this machine has {device.type}: run the command on a "
                "machine like those of the jobs, for example with srun."
            )

    def _write_training(self, training: Training) -> None:
        job, name = training.job, training.folder.name
        folder = self.folder / name
        if (folder / "plan.json").exists():
            return
        for file, source in (job.user_code() if isinstance(job, Job) else {}).items():
            write_text(folder / file, source)
        write_text(folder / "recipe.toml", tomli_w.dumps(job.stored_recipe()))
        write_json(folder / "plan.json", _plan(training).to_dict() | {"versions": versions()})

    def _write_commands(self, missing: Sequence[Training]) -> list[int]:
        """Append a command for each training without one, and return the numbers of the lines, from 1.

        Lines never move or change, also if the command would be another one on this machine.
        """
        lines = self._commands.read_text(encoding="utf-8").splitlines() if self._commands.exists() else []
        numbers = {_recipe_file(line).parent.name: number for number, line in enumerate(lines, start=1)}
        for training in missing:
            if training.folder.name not in numbers:
                lines.append(_command(self.folder.resolve(), training))
                numbers[training.folder.name] = len(lines)
        write_text(self._commands, "\n".join(lines) + "\n")
        return [numbers[training.folder.name] for training in missing]


def read_plan(file: Path, device: torch.device) -> Plan:
    """The plan in `file`: plan.json of a run or of a list of jobs.

    Raises UserError if it can't be read, is for another type of device, or was made by other versions.
    """
    try:
        with translate_read_errors(file):
            stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        plan = Plan.from_dict(stored)
    except FileNotFoundError as error:
        raise UserError(f"There is no file {file}: give the plan.json of a run or of a job.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file} is not a plan: give the plan.json of a run or of a job.") from error
    if plan.device != device.type:
        raise UserError(
            f"{file} is a plan for {plan.device}, but the training would run on {device.type}: add --device "
            f"{plan.device} on a machine that has it, or remove --plan."
        )
    if "versions" in stored:
        require_same_versions(stored["versions"], f"the machine that wrote {file}")
    return plan


def state(training: Training, log: Path) -> State:
    """The state of a training that is not finished.

    It has failed if its loss was not finite, or if its task printed an error and left nothing.
    """
    run = Run(training.folder)
    if is_updated(training.folder):
        return "running"
    if run.is_unfinished:
        return "failed" if run.postmortem.exists() else "interrupted"
    printed = _last_line(log)
    was_removed = printed == str(training.folder.resolve())  # a task that succeeds prints the folder of its run
    return "failed" if printed and not was_removed else "not started"


def _log(folder: Path, number: int) -> Path:
    """What the task of array.sh for this line of jobs.txt prints."""
    return folder / "logs" / f"{number}.txt"


def _last_line(log: Path) -> str:
    if not log.exists():
        return ""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def _plan(training: Training) -> Plan:
    if isinstance(training.job, LinearProbeJob):
        return training.job.plan
    assert training.plan is not None
    return training.plan


def _command(folder: Path, training: Training) -> str:
    """The `mixlab train` command of a training, with absolute paths."""
    job, name = training.job, training.folder.name
    variables = [f"{name}={folder}" for name, folder in data_variables().items()]
    words = [
        *(["env", *variables] if variables else []),
        *(sys.executable, "-m", "mixlab", "train", folder / name / "recipe.toml"),
        *("--plan", folder / name / "plan.json", "--out", training.folder.resolve()),
        *("--device", _plan(training).device),
        *(["--trust-code"] if job.architecture.user_file is not None else []),
    ]
    return shlex.join(map(str, words))


def _recipe_file(command: str) -> Path:
    """The recipe of a `mixlab train` command."""
    words = shlex.split(command)
    return Path(words[words.index("train") + 1])


def _array_script(folder: Path, trainings: Sequence[Training], lines: str) -> str:
    """An array job for these lines of jobs.txt, which belong to `trainings`."""
    plans = list(map(_plan, trainings))
    on_gpu = any(plan.device != "cpu" for plan in plans)
    threads = max(plan.threads or _GPU_CORES for plan in plans)
    workers = max(training.job.recipe.workers for training in trainings)
    return f"""#!/bin/bash
#SBATCH --job-name="{folder.name}"
#SBATCH --array={lines}
#SBATCH --cpus-per-task={threads + workers}
{"#SBATCH --gres=gpu:1" if on_gpu else "# no GPU: the plans are for a CPU"}
#SBATCH --output="{folder}/logs/%a.txt"
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=USR1@120
# Add what your cluster needs, such as #SBATCH --partition= and --time=. A signal ends a training after its step, with a
# checkpoint and status 75: the task is queued again and continues there.
command=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {shlex.quote(str(folder / "jobs.txt"))})
# srun does not inherit the cores of the job, and would bind the training to one of them on many clusters.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c "exec $command"
status=$?
if [ $status -eq 75 ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit $status
"""


def _readme(folder: Path) -> str:
    return f"""Each line of jobs.txt is a command that trains one model. Run them in any order, on any machines.

Slurm:      sbatch {shlex.quote(str(folder / "array.sh"))}
one by one: bash {shlex.quote(str(folder / "jobs.txt"))}
otherwise:  run line N with  bash -c "$(sed -n Np {shlex.quote(str(folder / "jobs.txt"))})"

Exit status of a line: 0 finished, 75 stopped by a signal (run the line again: it continues at its last checkpoint),
2 an error that its last message explains. A finished line ends at once when it is run again.

The trainings are written to {store_folder().resolve()}, which has to be on a file system that all machines share, as
this folder and the images. All machines need the same versions of mixlab and PyTorch. To collect the results, run the
command that wrote this folder again, with the same --jobs.
"""


def _next_step(folder: Path, states: Mapping[int, State], total: int) -> str:
    """What is finished, running and missing, and the command to type. `states` by line of jobs.txt."""
    counts = Counter(states.values())
    parts = [f"{total - len(states)} of {pluralize(total, 'training')} finished"]
    parts += [f"{counts[name]} {name}" for name in ("running", "interrupted", "failed", "not started") if counts[name]]
    waiting = sorted(number for number, name in states.items() if name != "running")
    summary = f"{', '.join(parts)}; the store is {store_folder().resolve()}."
    failed = [number for number, name in states.items() if name == "failed"]
    if failed and (printed := _last_line(log := _log(folder, failed[0]))):
        summary += f' Line {failed[0]} ended with "{printed}" ({log}).'
    if not waiting:
        return f"{summary} Run the same command again when they have ended."
    script = shlex.quote(str(folder / "array.sh"))
    return (
        f"{summary} Start the missing ones, lines {_ranges(waiting)} of {folder / 'jobs.txt'}, for example with "
        f"`sbatch --array={_ranges(waiting)} {script}`, then run the same command again."
    )


def _ranges(numbers: Sequence[int]) -> str:
    """Sorted numbers as Slurm writes them: 1-3,7."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
