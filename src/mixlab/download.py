"""A file by plain HTTP(S), resumed where it was cut off.

What is on this machine touches no network. Where the network fails, the sentence says what to fetch by hand, and where
to put it.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from mixlab.errors import UserError
from mixlab.files import create_parents, translate_os_errors, write_text
from mixlab.report.progress import progress

_PATIENCE = 30.0  # seconds without a byte
_PAUSES = (0.5, 2.0, 5.0)  # seconds before each resumed try
_CHUNK = 2**20  # bytes


class _BrokenOff(Exception):  # noqa: N818  it is named for what happened
    """The connection ended before the file did."""


def download(url: str, target: Path, sha256: str | None) -> Path:
    """`target`, fetched from `url` where it is not there yet. Raises UserError.

    A download that was cut off is resumed. Its SHA-256 is computed once, and stands beside it in `target`.sha256.
    """
    if target.exists():
        return target
    part = target.with_name(f"{target.name}.part")
    with translate_os_errors(target), create_parents(target):
        _fetch(url, part, target)
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        if sha256 not in (None, found):
            part.unlink()
            raise UserError(
                f"{url} gave a file whose SHA-256 begins {found[:12]} instead of {sha256[:12]}, so it was damaged on "
                f"its way or replaced, and is removed: run again, or fetch the right file and put it at {target}."
            )
        write_text(target.with_name(f"{target.name}.sha256"), f"{found}  {target.name}\n")
        part.replace(target)
    return target


def _fetch(url: str, part: Path, target: Path) -> None:
    """Fill `part`, from where it ends."""
    for pause in (*_PAUSES, None):
        try:
            _continue(url, part, target)
            return
        except _BrokenOff as error:
            if pause is None:
                raise UserError(
                    f"{url} broke off {len(_PAUSES) + 1} times ({error}): what came is kept in {part} and the next "
                    f"run resumes there, or fetch the file by hand and put it at {target}."
                ) from error
            time.sleep(pause)


def _continue(url: str, part: Path, target: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"User-Agent": "mixlab"} | ({"Range": f"bytes={have}-"} if have else {}))
    try:
        response = urlopen(request, timeout=_PATIENCE)
    except HTTPError as error:
        error.close()
        if error.code != 416 or not have:
            raise _by_hand(url, target, f"the server answers {error.code} {error.reason}") from error
        if error.headers.get("Content-Range") != f"bytes */{have}":  # else `part` is all of it
            part.unlink()
            _continue(url, part, target)
        return
    except (OSError, HTTPException) as error:
        raise _by_hand(url, target, _reason(error)) from error
    with response:
        have = have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file, progress(f"Fetching {target.name}", total or 0) as advance:
            advance(have)
            for chunk in _chunks(response):
                file.write(chunk)
                have += len(chunk)
                advance(len(chunk), f"{have / 1e6:.1f} MB")
    if total is not None and have < total:
        raise _BrokenOff(f"{have} of {total} bytes are here")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """Only the reading is inside the try: what fails while writing is the disk's fault."""
    try:
        while chunk := response.read1(_CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _BrokenOff(_reason(error)) from error


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer for {_PATIENCE:g} s"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _by_hand(url: str, target: Path, reason: str) -> UserError:
    return UserError(f"{url} can't be fetched ({reason}): fetch it by hand, and put it at {target}.")
