"""Leases: one holder at a time, and expiry when the holder has ended."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixlab.errors import UserError
from mixlab.runs import lease as module
from mixlab.runs.lease import LeaseHeldError, is_held, lease

HOLD = """
import sys
from pathlib import Path
from mixlab.runs.lease import lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def file(folder) -> Path:
    return folder.with_name(".run.lease")


@pytest.fixture
def other_process(folder) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lease until it reads a line."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def write_holder(file: Path, **changes: object) -> None:
    """Write the lease of a holder on another machine."""
    holder = {"token": "theirs", "machine": "node7 boot", "process": 12, "started": 1.0} | changes
    file.write_text(json.dumps(holder))


def test_a_lease_is_held_until_the_context_ends(folder, file):
    with lease(folder):
        assert is_held(folder) and file.exists()
    assert not is_held(folder) and not file.exists()
    assert not folder.exists()


def test_a_lease_ends_with_an_error(folder):
    with pytest.raises(KeyboardInterrupt), lease(folder):
        raise KeyboardInterrupt
    assert not is_held(folder)


def test_a_second_process_is_refused_with_the_name_of_the_first(folder, other_process):
    sentence = rf"Another process \(process {other_process.pid} on .*\) is training in .*run: wait until it ends, or"
    with pytest.raises(LeaseHeldError, match=sentence), lease(folder):
        pass
    assert is_held(folder)


def test_a_second_process_can_wait(folder, other_process):
    sentences: list[str] = []

    def on_wait(sentence: str) -> None:
        sentences.append(sentence)
        other_process.communicate(b"\n")

    with lease(folder, on_wait):
        assert is_held(folder)
    assert sentences == [
        f"Another process (process {other_process.pid} on {os.uname().nodename}) is running this training: waiting for "
        "its result."
    ]


def test_a_killed_holder_on_this_machine_is_replaced_at_once(folder, other_process):
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    assert not is_held(folder)
    before = time.monotonic()
    with lease(folder):
        assert is_held(folder)
    assert time.monotonic() - before < module.EXPIRY / 2


def test_a_reused_process_id_is_not_the_holder(folder, file):
    write_holder(file, machine=module._machine(), process=os.getpid(), started=1.0)
    assert not is_held(folder)


def test_a_holder_on_another_machine_that_updates_its_lease_is_not_replaced(folder, file, monkeypatch):
    monkeypatch.setattr(module, "EXPIRY", 0.4)
    monkeypatch.setattr(module, "_POLL", 0.02)
    write_holder(file)
    stop = threading.Event()

    def touch() -> None:
        while not stop.wait(0.05):
            os.utime(file)

    touching = threading.Thread(target=touch)
    touching.start()
    waited = time.monotonic()
    threading.Timer(1.2, stop.set).start()
    with lease(folder, on_wait=lambda sentence: None):
        waited = time.monotonic() - waited
    touching.join()
    assert waited > 1.2


def test_a_holder_on_another_machine_without_updates_is_replaced(folder, file, monkeypatch):
    monkeypatch.setattr(module, "EXPIRY", 0.2)
    monkeypatch.setattr(module, "_POLL", 0.02)
    write_holder(file)
    assert is_held(folder)
    with lease(folder, on_wait=lambda sentence: None) as held:
        assert json.loads(file.read_text())["token"] == held.token
    assert [path.name for path in file.parent.iterdir()] == []


def test_a_wrong_clock_of_another_machine_does_not_expire_a_lease(folder, file):
    """Its update is compared with an earlier update, never with the local time."""
    write_holder(file)
    os.utime(file, (0, 0))
    with pytest.raises(LeaseHeldError), lease(folder):
        pass


def test_the_holder_updates_its_lease(folder, file, monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT", 0.02)
    with lease(folder):
        os.utime(file, (0, 0))
        deadline = time.monotonic() + 10
        while file.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_process_that_lost_its_lease_stops(folder, file):
    with lease(folder) as held:
        held.require()
        write_holder(file)
        with pytest.raises(UserError, match=r"Another process has taken over .*run, because this one did not respond"):
            held.require()
    assert is_held(folder), "the lease of the new holder stays"


def test_leases_work_on_a_file_system_without_hard_links(folder, file, monkeypatch):
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(module.os, "link", refuse)
    with lease(folder):
        assert is_held(folder)
        with pytest.raises(LeaseHeldError), lease(folder):
            pass
    assert not file.exists()


def hold_and_count(folder: Path, turns: int, overlaps: Path, inside: Path) -> None:
    for _ in range(turns):
        with lease(folder, on_wait=lambda sentence: None):
            try:
                inside.touch(exist_ok=False)
            except FileExistsError:
                overlaps.touch()
            time.sleep(0.002)
            inside.unlink(missing_ok=True)


def test_only_one_of_several_processes_holds_a_lease_at_a_time(tmp_path, folder):
    context = multiprocessing.get_context("fork")
    overlaps, inside = tmp_path / "overlaps", tmp_path / "inside"
    processes = [context.Process(target=hold_and_count, args=(folder, 5, overlaps, inside)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert not overlaps.exists()


def test_an_expired_lease_is_taken_over_by_one_of_several_waiting_processes(tmp_path, folder, file, monkeypatch):
    monkeypatch.setattr(module, "EXPIRY", 0.2)
    monkeypatch.setattr(module, "_POLL", 0.01)
    write_holder(file)
    context = multiprocessing.get_context("fork")
    overlaps, inside = tmp_path / "overlaps", tmp_path / "inside"
    processes = [context.Process(target=hold_and_count, args=(folder, 2, overlaps, inside)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert not overlaps.exists() and not file.exists()


def test_a_path_below_a_file_is_a_user_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file"), lease(tmp_path / "file" / "run"):
        pass


def test_the_current_folder_has_a_lease_beside_it(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    with lease(Path()):
        assert (tmp_path / ".run.lease").exists() and is_held(tmp_path / "run")
