"""A training's checkpoints: the state between two steps as one file, written whole while the next steps are taken.

step-00000120.safetensors  tensors, and in the header, as JSON, the facts beside them
best.safetensors           the weights that validation liked best so far
"""

import json
import math
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mixlab.errors import UserError
from mixlab.files import atomic_file

_STEP = "step-{:08d}.safetensors"
_STEPS = "step-*.safetensors"
_BEST = "best.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors on the CPU, and JSON."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]

    def section(self, name: str) -> dict[str, Tensor]:
        """The tensors called `name`/..., by the rest of their names."""
        return {
            key.removeprefix(f"{name}/"): value for key, value in self.tensors.items() if key.startswith(f"{name}/")
        }


class Checkpoints:
    """Of one run, due every so many steps or seconds; where `writes` is not set, another process writes them.

    Leaving the context waits for what is being written; an error of writing is raised at the next call.
    """

    def __init__(self, folder: Path, *, keep: int, every_steps: int | None, every_seconds: float | None, writes: bool):
        self._folder, self._keep, self._writes = folder, keep, writes
        self._every_steps, self._every_seconds = every_steps or math.inf, every_seconds or math.inf
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._writing: list[Future[None]] = []
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        if self._writes:
            for temporary in self._folder.glob(".*.part"):  # what a killed process was writing
                temporary.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.shutdown()
        if error is None:
            self._wait()

    def due(self, step: int) -> bool:
        return step % self._every_steps == 0 or time.monotonic() - self._since >= self._every_seconds

    def save(self, checkpoint: Checkpoint) -> None:
        """`checkpoint`, whose facts name its step, must no longer change: it is written while the caller goes on."""
        self._since = time.monotonic()
        self._write_soon(_STEP.format(checkpoint.metadata["step"]), checkpoint)

    def save_best(self, checkpoint: Checkpoint) -> None:
        self._write_soon(_BEST, checkpoint)

    def last(self) -> Checkpoint | None:
        """The newest that can be read: an older one takes the place of one that a failing disk has damaged.

        Raises UserError where there are some and none can be read.
        """
        files = sorted(self._folder.glob(_STEPS), reverse=True)
        reasons = []
        for file in files:
            try:
                return _read(file)
            except (OSError, SafetensorError, ValueError) as error:
                reasons.append(error)
        if files:
            raise UserError(
                f"{files[0]} is broken ({reasons[0]}), and no older checkpoint can be read: remove {self._folder} to "
                "begin the run again at its first step."
            )
        return None

    def best(self) -> Checkpoint | None:
        self._wait()
        file = self._folder / _BEST
        try:
            return _read(file) if file.exists() else None
        except (OSError, SafetensorError, ValueError) as error:
            raise UserError(
                f"{file} is broken ({error}), and it holds the weights to keep: remove {self._folder} to begin the run "
                "again at its first step."
            ) from error

    def _write_soon(self, name: str, checkpoint: Checkpoint) -> None:
        if self._writes:
            self._wait()  # so that at most one copy of the state is held in memory
            self._writing.append(self._writer.submit(self._write, self._folder / name, checkpoint))

    def _wait(self) -> None:
        while self._writing:
            self._writing.pop(0).result()

    def _write(self, path: Path, checkpoint: Checkpoint) -> None:
        with atomic_file(path) as temporary:
            temporary.write_bytes(save(dict(checkpoint.tensors), {"facts": json.dumps(checkpoint.metadata)}))
        for old in sorted(self._folder.glob(_STEPS))[: -self._keep]:
            old.unlink(missing_ok=True)


def _read(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        metadata = json.loads((file.metadata() or {}).get("facts", "{}"))
        return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, metadata)  # noqa: SIM118  no mapping
