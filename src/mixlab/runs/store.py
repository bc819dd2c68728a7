"""The store of trainings. The name of each run's folder contains a hash of everything that determines the result."""

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
    """12 hexadecimal digits of a hash of `cache_key` and of the sources that compute the result.

    `cache_key` has everything else that determines the result, as JSON-serializable values: the resolved recipe, the
    complete config of the model, the fingerprint of the data, the plan, the version of torch.
    """
    content = json.dumps(cache_key | {"sources": sources_digest()}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def finished_run(path: Path) -> Run | None:
    """The run at `path` if it is finished, else None. Raises UserError if a finished run is incomplete."""
    return open_run(path) if Run(path).is_finished else None
