"""Finished trainings, found again by everything that decided their result."""

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import mixlab
from mixlab.runs.folder import Run

_MAKES_A_RESULT = ("models", "data", "speed", "training")


def store_folder() -> Path:
    """`$MIXLAB_RUNS`, else `runs/` in the current folder."""
    return Path(os.environ.get("MIXLAB_RUNS", "runs"))


def run_folder(label: str, decided_by: dict[str, Any]) -> Path:
    """Where the training that `decided_by` describes is kept, or will be.

    The key covers `decided_by` (resolved recipe, the model's full config, the data's fingerprint, the plan, torch's
    version, ...) and the package's sources that make a result, so that a changed line trains anew.
    """
    decided = json.dumps(decided_by | {"sources": _sources()}, sort_keys=True)
    return store_folder() / f"{label}-{hashlib.sha256(decided.encode()).hexdigest()[:12]}"


def finished_run(path: Path) -> Run | None:
    """The run at `path` if it came to its end."""
    run = Run(path)
    return run if (path / "status.json").exists() and run.state == "done" else None


@cache
def _sources() -> str:
    package = Path(mixlab.__file__).parent
    files = sorted(file for folder in _MAKES_A_RESULT for file in (package / folder).glob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
