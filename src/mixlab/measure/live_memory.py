"""Peak memory of a call, measured.

On a CPU, PyTorch's profiler records every block that PyTorch takes and frees, also inside operators and for oneDNN.
Memory that other libraries take by themselves, such as MKL for matrix products, is not included.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from mixlab.measure.memory import peak_bytes, reset_peak

_LOG_LEVEL = "KINETO_LOG_LEVEL"
_NO_MESSAGES = "99"


def peak_bytes_of(call: Callable[[], object], device: torch.device) -> int:
    """The largest number of bytes on a CPU or CUDA device that a call takes at the same time, above those in use.

    The second of two calls is measured. What the first one keeps, such as workspaces of libraries, is not included.
    """
    call()
    return _on_cuda(call, device) if device.type == "cuda" else _on_cpu(call)


def _on_cuda(call: Callable[[], object], device: torch.device) -> int:
    before = torch.cuda.memory_allocated(device)
    reset_peak(device)
    call()
    return peak_bytes(device) - before


def _on_cpu(call: Callable[[], object]) -> int:
    with (
        _without_messages(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled,
    ):
        call()
    events: Any = profiled.profiler.kineto_results.events()  # pyright: ignore[reportOptionalMemberAccess]
    changes = sorted(
        (event.start_ns(), place, event.nbytes()) for place, event in enumerate(events) if event.name() == "[memory]"
    )
    return max(accumulate((change for _, _, change in changes), initial=0))


@contextmanager
def _without_messages() -> Iterator[None]:
    """Keep the profiler, which reads this variable when it first starts, from writing messages to standard error."""
    if _LOG_LEVEL in os.environ:
        yield
        return
    os.environ[_LOG_LEVEL] = _NO_MESSAGES
    try:
        yield
    finally:
        del os.environ[_LOG_LEVEL]
