"""Plans that are decided once, so that a repeated command, or another machine, finds the trainings of the first one.

The plan of a training is part of its key in the store, and measurements differ: a plan that is decided again can be
another one, with which all trainings would run again.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import torch

from mixlab.errors import UserError
from mixlab.files import WriteError, create_file, translate_read_errors, translate_write_errors
from mixlab.measure.machine import device_name
from mixlab.report.progress import Log
from mixlab.runs.sources import sources_digest
from mixlab.runs.store import finished_run, store_folder, store_key
from mixlab.speed.plan import Plan
from mixlab.training.job import Job
from mixlab.training.planning.concurrency import Planned
from mixlab.training.planning.memory import has_memory


def local_plans(way: str, jobs: Sequence[Job], decide: Callable[[], Planned], log: Log) -> Planned:
    """`stored_plans` for processes of this machine, in the store of the trainings.

    While their kernels or their memory are not available, other plans are used and not stored, unless all trainings are
    finished already. Nothing is stored in a store that can't be written.

    way  the name of the way in which `decide` selects the plans
    log  called with the name of the file if the plans are stored ones
    """
    file = _local_file(way, jobs)
    if file.path.is_file():
        return _unless_unavailable(file, jobs, decide, log)
    planned = decide()
    with suppress(WriteError):
        return file.store(planned)
    return planned


def plans_without_storing(way: str, jobs: Sequence[Job], decide: Callable[[], Planned], log: Log) -> Planned:
    """The plans of `local_plans`, for a dry run, which creates no store."""
    file = _local_file(way, jobs)
    return _unless_unavailable(file, jobs, decide, log) if file.path.is_file() else decide()


def _local_file(way: str, jobs: Sequence[Job]) -> "_PlansFile":
    machine = {"device": device_name(jobs[0].device), "threads": torch.get_num_threads()}
    return _PlansFile.of(store_folder() / ".plans" / f"{way}-{store_key(machine)}", jobs)


def _unless_unavailable(file: "_PlansFile", jobs: Sequence[Job], decide: Callable[[], Planned], log: Log) -> Planned:
    """The stored plans, or others if trainings are missing and can't run under them."""
    planned = file.read()
    if _are_finished(jobs, planned) or _can_run(jobs, planned, file.keys):
        decided = datetime.fromtimestamp(file.path.stat().st_mtime)
        log(f"The compute mode is that of {decided:%Y-%m-%d %H:%M}; to measure again, delete {file.path}.")
        return planned
    log(f"The compute mode in {file.path} needs kernels or memory that are not available now: another one is used.")
    return decide()


def _are_finished(jobs: Sequence[Job], planned: Planned) -> bool:
    return all(finished_run(job.folder(plan)) is not None for job, (plan, _) in zip(jobs, planned, strict=True))


def _can_run(jobs: Sequence[Job], planned: Planned, keys: Sequence[str]) -> bool:
    """Whether the kernels and the memory of all plans are available. Jobs with the same key have the same memory."""
    distinct = {key: (job, plan) for key, job, (plan, _) in zip(keys, jobs, planned, strict=True)}.values()
    try:
        have_kernels = all(plan.rewrites.build_here() == plan.rewrites.kernel_build for _, plan in distinct)
    except UserError:
        return False
    return have_kernels and all(has_memory(job, plan) for job, plan in distinct)


def stored_plans(folder: Path, jobs: Sequence[Job], decide: Callable[[], Planned]) -> Planned:
    """The plans in `folder` of these jobs and their seconds per step, or the result of `decide`, which is then stored.

    If several processes decide at the same time, all get the plans of the first one.

    Seeds do not count, so that a comparison with more seeds has the same plans. No other property of the machine counts
    either: a machine without a GPU reads the plans that one with a GPU has decided.
    """
    file = _PlansFile.of(folder, jobs)
    return file.read() if file.path.is_file() else file.store(decide())


@dataclass(frozen=True)
class _PlansFile:
    """The plans of jobs that are planned together. `keys`: one for each job; jobs that differ in seeds share theirs."""

    path: Path
    keys: Sequence[str]

    @classmethod
    def of(cls, folder: Path, jobs: Sequence[Job]) -> Self:
        keys = [store_key(job.cache_key(seed=None)) for job in jobs]
        name = hashlib.sha256(json.dumps(sorted({*keys})).encode()).hexdigest()[:12]
        return cls(folder / f"{name}.json", keys)

    def store(self, planned: Planned) -> Planned:
        """Write the plans, and return those in the file: the first ones, if another process has written it."""
        decided = zip(self.keys, planned, strict=True)
        content = {key: plan.to_dict() | {"seconds": seconds} for key, (plan, seconds) in decided}
        with translate_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            create_file(self.path, json.dumps(content, indent=2).encode())
        return self.read()

    def read(self) -> Planned:
        with translate_read_errors(self.path):
            stored = json.loads(self.path.read_text(encoding="utf-8"))
        return [(Plan.from_dict(stored[key]), stored[key]["seconds"]) for key in self.keys]


def versions() -> dict[str, Any]:
    """What has to be the same on all machines that train with one plan."""
    return {"sources": sources_digest(), "torch": torch.__version__}


def require_same_versions(expected: dict[str, Any], planned_by: str) -> None:
    """Raises UserError if this machine has another mixlab or PyTorch than the one that decided the plans."""
    here = versions()
    if here["torch"] != expected["torch"]:
        raise UserError(
            f"This machine has PyTorch {here['torch']}, but {planned_by} has {expected['torch']}: install the same "
            "version on all machines."
        )
    if here["sources"] != expected["sources"]:
        raise UserError(
            f"This machine has another version of mixlab than {planned_by}: install the same version on all machines."
        )
