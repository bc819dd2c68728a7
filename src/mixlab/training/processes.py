"""Processes for trainings: forked from a server with the libraries imported, or spawned on other systems."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait

_PRELOADED = ["mixlab.training.runner", "timm"]
_SIGNAL_INTERVAL = 2.0  # seconds


def process_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of processes that end soon after this one, even if it is killed. A training writes a checkpoint first."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
    else:
        context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        while True:  # the first signal ends a training after its step, the next one the idle process
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(_SIGNAL_INTERVAL)

    threading.Thread(target=watch, daemon=True).start()
