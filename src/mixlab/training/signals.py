"""SIGTERM and SIGUSR1, with which a cluster takes a machine back, end a training after the step that is being taken."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_ASKED_WITH = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class StopSignals:
    """While it is entered, these signals are noted in `received` and end nothing by themselves."""

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread listen
            self._before = {number: signal.signal(number, self._note) for number in _ASKED_WITH}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
