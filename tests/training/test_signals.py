"""The signals that stop a training after a step."""

import os
import signal

import pytest

from mixlab.errors import Interrupted
from mixlab.training.signals import StopSignals


def send(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_is_recorded_and_does_not_end_the_process(name):
    with StopSignals() as signals:
        send(name)
    assert signals.received == name


def test_a_second_ctrl_c_stops_at_once():
    with StopSignals() as signals:
        send("SIGINT")
        with pytest.raises(KeyboardInterrupt):
            send("SIGINT")
    assert signals.received == "SIGINT"


def test_afterwards_ctrl_c_is_handled_as_before():
    before = signal.getsignal(signal.SIGINT)
    with StopSignals():
        send("SIGINT")
    assert signal.getsignal(signal.SIGINT) == before


def test_a_signal_that_is_ignored_stays_ignored_as_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            send("SIGHUP")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signals.received is None


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("SIGINT", 130, "Stopped by Ctrl-C after step 2."),
        ("SIGHUP", 75, "Stopped by SIGHUP after step 2."),
        (None, 75, "Stopped by a signal to another process after step 2."),
    ],
)
def test_the_exit_status_and_the_message_depend_on_the_signal(name, status, message):
    interrupted = Interrupted(name, " after step 2.")
    assert (interrupted.status, str(interrupted)) == (status, message)


def test_a_handler_that_was_not_set_from_python_stays(monkeypatch):
    """Python reports such a handler as None and can't restore it."""
    known = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGUSR1 else known(number))
    before = known(signal.SIGUSR1)
    with StopSignals():
        assert known(signal.SIGUSR1) == before
    assert known(signal.SIGUSR1) == before
