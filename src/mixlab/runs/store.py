"""Finished trainings, found again by everything that decided their result."""

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import mixlab
from mixlab.runs.folder import Run, open_run

_MAKES_A_RESULT = ("models/*.py", "data/**/*.py", "speed/*.py", "training/*.py", "zoo/timm_models.py")


def store_folder() -> Path:
    """`$MIXLAB_RUNS`, else `runs/` in the current folder."""
    return Path(os.environ.get("MIXLAB_RUNS") or "runs")


def store_key(cache_key: dict[str, Any]) -> str:
    """Twelve letters for everything that decides a result: `cache_key`, and the package's sources that make it.

    `cache_key` is the resolved recipe, the model's full config, the data's fingerprint, the plan, torch's version ...
    """
    decided = json.dumps(cache_key | {"sources": _sources()}, sort_keys=True)
    return hashlib.sha256(decided.encode()).hexdigest()[:12]


def finished_run(path: Path) -> Run | None:
    """The run at `path` if it came to its end; UserError if it is no longer whole."""
    is_done = (path / "status.json").exists() and Run(path).state == "done"
    return open_run(path) if is_done else None


@cache
def _sources() -> str:
    package = Path(mixlab.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(file for pattern in _MAKES_A_RESULT for file in package.glob(pattern)):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
