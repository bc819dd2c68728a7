"""Signal handling: Ctrl-C, a closed terminal, and the signals that clusters send end a training after a step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


class StopSignals:
    """Within the context, SIGINT, SIGTERM, SIGHUP and SIGUSR1 only set `received` to the name of the signal.

    A signal that the process ignores stays ignored, such as SIGHUP under nohup, and a handler that was not set from
    Python, which can't be restored, stays. A second Ctrl-C raises KeyboardInterrupt, because a step may take long.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers in the main thread only
            handled = [number for number in _STOP_SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
            self._before = {number: signal.signal(number, self._receive) for number in handled}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
