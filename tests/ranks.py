"""Several processes of one training, as torchrun starts them."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def environments(processes: int) -> list[dict[str, str]]:
    """The environment variables that torchrun sets. Process 0 has the store."""
    if processes == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    return [
        shared | {"MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)
    ]


def run_python(arguments: Sequence[str], folder: Path, *, processes: int) -> list[Ended]:
    """Run Python with these arguments in `folder`, in several processes with one thread each."""
    with ExitStack() as stack:
        started = []
        for environment in environments(processes):
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=os.environ | environment | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(stack.enter_context(process))
            stack.callback(process.kill)
        outputs = [process.communicate(timeout=600) for process in started]
        return [Ended(process.returncode, *output) for process, output in zip(started, outputs, strict=True)]
