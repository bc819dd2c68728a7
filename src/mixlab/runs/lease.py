"""A lease on a run's folder: at most one process at a time trains in it, on this machine or another.

The lease is a file next to the run's folder. It is created exclusively, which also works on network file systems
without locks, and its holder updates the modification time every few seconds. A lease expires when its holder ends: at
once if both processes run on the same machine, else after `EXPIRY` seconds without an update, on the clock of the
observer.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mixlab.errors import UserError
from mixlab.files import create_file, translate_write_errors
from mixlab.report.progress import Log

HEARTBEAT = 5.0
EXPIRY = 90.0
"""Seconds. Network file systems may show an old modification time for a minute."""

_POLL = 0.5


class LeaseHeldError(UserError):
    """Another process trains in the folder."""

    def __init__(self, folder: Path, holder: str):
        super().__init__(folder, holder)
        self.folder, self.holder = folder, holder

    def __str__(self) -> str:
        return (
            f"Another process ({self.holder}) is training in {self.folder}: wait until it ends, or give another path."
        )


@dataclass(frozen=True)
class Lease:
    """A lease that is held. `token` identifies the holder in the file."""

    file: Path
    token: str

    def require(self) -> None:
        """Raises UserError if the lease was lost, for example because the process was suspended for a long time."""
        if _read(self.file).get("token") != self.token:
            raise UserError(
                f"Another process has taken over {self.file.parent / _folder_name(self.file)}, because this one did "
                "not respond for a while. The training continues in that process."
            )


@contextmanager
def lease(folder: Path, on_wait: Log | None = None) -> Iterator[Lease]:
    """Hold the lease on `folder`, which need not exist, within the context.

    If another process holds it: raises LeaseHeldError, or with `on_wait`, calls it once with a message and waits.
    """
    file = _lease_file(folder)
    with translate_write_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        held = _acquire(file, folder, on_wait)
    stop = threading.Event()
    beat = threading.Thread(target=_touch_until, args=(file, stop), daemon=True)
    beat.start()
    try:
        yield held
    finally:
        stop.set()
        beat.join()
        if _read(file).get("token") == held.token:
            file.unlink(missing_ok=True)


def is_held(folder: Path) -> bool:
    """Whether another process holds the lease on `folder`. An expired lease of another machine counts as held."""
    holder = _read(_lease_file(folder))
    return bool(holder) and not _is_gone(holder)


def is_updated(folder: Path) -> bool:
    """Whether a process holds the lease on `folder` and has updated it lately, by the clock of this machine.

    For messages: unlike `is_held`, it is False for a process of another machine that was killed some time ago.
    """
    file = _lease_file(folder)
    return is_held(folder) and time.time() - _modified(file) < EXPIRY


def _lease_file(folder: Path) -> Path:
    """The file beside the folder, also if this is "."."""
    absolute = folder.resolve()
    return absolute.with_name(f".{absolute.name}.lease")


def _acquire(file: Path, folder: Path, on_wait: Log | None) -> Lease:
    token = uuid.uuid4().hex
    content = json.dumps({"token": token, **_identity()}).encode()
    last_seen: tuple[str, float] | None = None  # the holder's token with its last update ...
    since = time.monotonic()  # ... and when this was first observed
    while not create_file(file, content):
        holder = _read(file)
        modified = _modified(file)
        if last_seen != (last_seen := (holder.get("token", ""), modified)):
            since = time.monotonic()
        if _is_gone(holder) or time.monotonic() - since > EXPIRY:
            if _take_over(file, content, holder):
                break
            continue
        if on_wait is None:
            raise LeaseHeldError(folder, _holder_name(holder))
        on_wait(f"Another process ({_holder_name(holder)}) is running this training: waiting for its result.")
        on_wait = _ignore
        time.sleep(_POLL)
    return Lease(file, token)


def _take_over(file: Path, content: bytes, holder: dict[str, Any]) -> bool:
    """Replace an expired lease. If several processes try, only the one that creates the marker file succeeds."""
    marker = file.with_name(f"{file.name}.{holder.get('token', 'unreadable')}.expired")
    if not create_file(marker, content):
        if time.time() - _modified(marker) > EXPIRY:  # its creator ended before it removed it
            marker.unlink(missing_ok=True)
        time.sleep(_POLL)
        return False
    try:
        if _read(file) != holder:
            return False
        draft = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
        draft.write_bytes(content)
        draft.replace(file)
        return True
    finally:
        marker.unlink(missing_ok=True)


def _touch_until(file: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        with suppress(OSError):
            os.utime(file)


def _read(file: Path) -> dict[str, Any]:
    """The content of a lease; empty without one."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _modified(file: Path) -> float:
    """The modification time. The file is opened, because network file systems then query the server."""
    try:
        with file.open("rb") as opened:
            return os.fstat(opened.fileno()).st_mtime
    except OSError:
        return 0.0


def _identity() -> dict[str, Any]:
    return {"machine": _machine(), "process": os.getpid(), "started": psutil.Process().create_time()}


def _machine() -> str:
    """The host name; on Linux also the boot id and the namespace of process ids."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return " ".join(parts)


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether the holder ran on this machine and has ended."""
    if holder.get("machine") != _machine():
        return False
    try:
        return psutil.Process(holder["process"]).create_time() != holder["started"]
    except psutil.NoSuchProcess:
        return True


def _holder_name(holder: dict[str, Any]) -> str:
    machine = str(holder.get("machine", "unknown")).partition(" ")[0]
    return f"process {holder.get('process', 'unknown')} on {machine}"


def _folder_name(file: Path) -> str:
    return file.name.removeprefix(".").removesuffix(".lease")


def _ignore(message: str) -> None:
    pass
