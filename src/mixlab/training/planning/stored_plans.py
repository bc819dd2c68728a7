"""Plans that several machines share: decided once, and stored in a folder on a file system that all of them see."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mixlab.errors import UserError
from mixlab.files import create_file, translate_read_errors, translate_write_errors
from mixlab.runs.sources import sources_digest
from mixlab.runs.store import store_key
from mixlab.speed.plan import Plan
from mixlab.training.job import Job
from mixlab.training.planning.concurrency import Planned


def stored_plans(folder: Path, jobs: Sequence[Job], decide: Callable[[], Planned]) -> Planned:
    """The plans in `folder` of these jobs and their seconds per step, or the result of `decide`, which is then stored.

    If several processes decide at the same time, all get the plans of the first one.

    Seeds do not count, so that a comparison with more seeds has the same plans. No other property of the machine counts
    either: a machine without a GPU reads the plans that one with a GPU has decided.
    """
    keys = [store_key(job.cache_key(seed=None)) for job in jobs]
    name = hashlib.sha256(json.dumps(sorted({*keys})).encode()).hexdigest()[:12]
    file = folder / f"{name}.json"
    if not file.is_file():
        decided = dict(zip(keys, decide(), strict=True))
        content = {key: plan.to_dict() | {"seconds": seconds} for key, (plan, seconds) in decided.items()}
        with translate_write_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            create_file(file, json.dumps(content, indent=2).encode())
    with translate_read_errors(file):
        stored = json.loads(file.read_text(encoding="utf-8"))
    return [(Plan.from_dict(stored[key]), stored[key]["seconds"]) for key in keys]


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
