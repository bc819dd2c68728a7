"""Checkpoints of a training. They are written atomically, in a thread, while the training continues.

step-00000120.safetensors  the state after a step: tensors, and metadata as JSON in the header
best.safetensors           the weights with the best validation accuracy so far
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
from mixlab.files import atomic_file, translate_read_errors

_STEP = "step-{:08d}.safetensors"
_STEPS = "step-*.safetensors"
_BEST = "best.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors on the CPU, and JSON-serializable metadata."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]

    def section(self, name: str) -> dict[str, Tensor]:
        """The tensors with the prefix `name`/, which is removed from their names."""
        return {
            key.removeprefix(f"{name}/"): value for key, value in self.tensors.items() if key.startswith(f"{name}/")
        }


class Checkpoints:
    """Reads and writes the checkpoints of one run.

    folder         the folder of the files
    keep           number of last checkpoints to keep
    every_steps    a checkpoint is due after this many steps; None: never
    every_seconds  a checkpoint is due this long after the last one; None: never
    writes         False if another process writes the files

    Use it as a context manager: leaving the context waits for pending writes. An error of a write is raised by the next
    call.
    """

    def __init__(self, folder: Path, *, keep: int, every_steps: int | None, every_seconds: float | None, writes: bool):
        self._folder, self._keep, self._writes = folder, keep, writes
        self._every_steps, self._every_seconds = every_steps or math.inf, every_seconds or math.inf
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._pending: list[Future[None]] = []
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        if self._writes:
            for temporary in self._folder.glob(".*.part"):  # left by a killed process
                temporary.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.shutdown()
        if error is None:
            self._wait()

    def due(self, step: int) -> bool:
        """Whether a checkpoint is due after `step`."""
        return step % self._every_steps == 0 or time.monotonic() - self._since >= self._every_seconds

    def save(self, checkpoint: Checkpoint) -> None:
        """Start to write a checkpoint with "step" in its metadata. The caller must not change its tensors any more."""
        self._since = time.monotonic()
        self._start_write(_STEP.format(checkpoint.metadata["step"]), checkpoint)

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Start to write the best weights. The caller must not change them any more."""
        self._start_write(_BEST, checkpoint)

    def last(self) -> Checkpoint | None:
        """The last checkpoint that is not damaged, or None without any.

        Raises UserError if all are damaged, or if the operating system refuses to read one.
        """
        files = sorted(self._folder.glob(_STEPS), reverse=True)
        reasons = []
        for file in files:
            try:
                return _read(file)
            except (SafetensorError, json.JSONDecodeError) as error:
                reasons.append(error)
        if files:
            raise UserError(
                f"{files[0]} is damaged ({reasons[0]}), and no older checkpoint can be read: remove {self._folder} to "
                "restart the run at its first step."
            )
        return None

    def best(self) -> Checkpoint | None:
        """The best weights, or None without any. Raises UserError if they can't be read."""
        self._wait()
        file = self._folder / _BEST
        try:
            return _read(file) if file.exists() else None
        except (SafetensorError, json.JSONDecodeError) as error:
            raise UserError(
                f"{file} with the best weights is damaged ({error}): remove {self._folder} to restart the run at its "
                "first step."
            ) from error

    def _start_write(self, name: str, checkpoint: Checkpoint) -> None:
        if self._writes:
            self._wait()  # so that at most one copy of the state is in memory
            self._pending.append(self._writer.submit(self._write, self._folder / name, checkpoint))

    def _wait(self) -> None:
        while self._pending:
            self._pending.pop(0).result()

    def _write(self, path: Path, checkpoint: Checkpoint) -> None:
        with atomic_file(path) as temporary:
            temporary.write_bytes(save(dict(checkpoint.tensors), {"facts": json.dumps(checkpoint.metadata)}))
        for old in sorted(self._folder.glob(_STEPS))[: -self._keep]:
            old.unlink(missing_ok=True)


def _read(path: Path) -> Checkpoint:
    with translate_read_errors(path), path.open("rb"), safe_open(path, framework="pt") as file:
        metadata = json.loads((file.metadata() or {}).get("facts", "{}"))
        return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, metadata)  # noqa: SIM118  no mapping
