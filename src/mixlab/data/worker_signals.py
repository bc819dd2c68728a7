"""Signals in the worker processes that read images."""

import signal


def ignore_interrupts(worker: int) -> None:
    """Ignore Ctrl-C and a closed terminal, which reach all processes: the main process ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
