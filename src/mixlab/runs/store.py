"""The store of trainings: each has a folder named by a key over everything that decides its result."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mixlab.runs.folder import Run, open_run
from mixlab.runs.sources import sources_digest


def store_folder() -> Path:
    """`$MIXLAB_RUNS`, else `runs/` in the current folder."""
    return Path(os.environ.get("MIXLAB_RUNS") or "runs")


def store_key(cache_key: dict[str, Any]) -> str:
    """12 hexadecimal digits of `cache_key` and of the sources that compute the result.

    `cache_key`: everything else that decides the result, as JSON: the resolved recipe, the model's complete config, the
    data's fingerprint, the plan, the version of torch.
    """
    decided = json.dumps(cache_key | {"sources": sources_digest()}, sort_keys=True)
    return hashlib.sha256(decided.encode()).hexdigest()[:12]


def finished_run(path: Path) -> Run | None:
    """The run at `path` if it is finished, else None. Raises UserError where a finished run is no longer complete."""
    return open_run(path) if Run(path).is_finished else None
