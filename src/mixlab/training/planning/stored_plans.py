"""Plans that are decided once, so that a repeated command, or another machine, finds the trainings of the first one.

The plan of a training is part of its key in the store, and measurements differ: a plan that is decided again can be
another one, with which all trainings would run again.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

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
    planned = plans_without_storing(way, jobs, decide, log)
    file, keys = _local_file(way, jobs), _keys(jobs)
    if not file.is_file():
        with suppress(WriteError):
            _write(file, keys, planned)
            return _read(file, keys)
    return planned


def plans_without_storing(way: str, jobs: Sequence[Job], decide: Callable[[], Planned], log: Log) -> Planned:
    """The plans of `local_plans`, for a dry run, which creates no store."""
    file, keys = _local_file(way, jobs), _keys(jobs)
    if not file.is_file():
        return decide()
    planned = _read(file, keys)
    if _are_finished(jobs, planned) or _can_run(jobs, planned, keys):
        decided = datetime.fromtimestamp(file.stat().st_mtime)
        log(f"The compute mode is that of {decided:%Y-%m-%d %H:%M}; to measure again, delete {file}.")
        return planned
    log(f"The compute mode in {file} needs kernels or memory that are not available now: another one is used.")
    return decide()


def _local_file(way: str, jobs: Sequence[Job]) -> Path:
    machine = {"device": device_name(jobs[0].device), "threads": torch.get_num_threads()}
    return _file(store_folder() / ".plans" / f"{way}-{store_key(machine)}", _keys(jobs))


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
    keys = _keys(jobs)
    file = _file(folder, keys)
    if not file.is_file():
        _write(file, keys, decide())
    return _read(file, keys)


def _write(file: Path, keys: Sequence[str], planned: Planned) -> None:
    """Write the plans if the file does not exist."""
    content = {key: plan.to_dict() | {"seconds": seconds} for key, (plan, seconds) in zip(keys, planned, strict=True)}
    with translate_write_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        create_file(file, json.dumps(content, indent=2).encode())


def _read(file: Path, keys: Sequence[str]) -> Planned:
    with translate_read_errors(file):
        stored = json.loads(file.read_text(encoding="utf-8"))
    return [(Plan.from_dict(stored[key]), stored[key]["seconds"]) for key in keys]


def _keys(jobs: Sequence[Job]) -> list[str]:
    return [store_key(job.cache_key(seed=None)) for job in jobs]


def _file(folder: Path, keys: Sequence[str]) -> Path:
    name = hashlib.sha256(json.dumps(sorted({*keys})).encode()).hexdigest()[:12]
    return folder / f"{name}.json"


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
