"""Downloads over plain HTTP(S) that resume after an interruption.

A file that is already on this machine needs no network. When a download fails, the error message says which file to
download by hand and where to put it.
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
from mixlab.files import create_parents, translate_write_errors, write_text
from mixlab.report.progress import progress

_TIMEOUT = 30.0  # seconds without a byte
_RETRY_DELAYS = (0.5, 2.0, 5.0)  # seconds before each retry
_CHUNK_SIZE = 2**20  # bytes


class _ConnectionLost(Exception):  # noqa: N818  caught and retried, never shown as an error
    """The connection ended before the file was complete."""


def download(url: str, target: Path, sha256: str | None) -> Path:
    """Download `url` to `target` unless `target` exists, and return `target`.

    An interrupted download is resumed. The SHA-256 of the file is computed once and written to `target`.sha256.

    `sha256`: the expected hash in hexadecimal digits; None skips the comparison.

    Raises UserError if the server can't be reached, the connection is lost too often, the hash differs or the file
    can't be written.
    """
    if target.exists():
        return target
    partial = target.with_name(f"{target.name}.part")
    with translate_write_errors(target), create_parents(target):
        _fetch_with_retries(url, partial, target)
        with partial.open("rb") as file:
            actual_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        if sha256 not in (None, actual_sha256):
            partial.unlink()
            raise UserError(
                f"The file from {url} has a SHA-256 that begins with {actual_sha256[:12]} instead of {sha256[:12]}: it "
                "is damaged or was replaced, and has been removed. Run again, or download the correct file by hand, "
                f"and put it at {target}."
            )
        write_text(target.with_name(f"{target.name}.sha256"), f"{actual_sha256}  {target.name}\n")
        partial.replace(target)
    return target


def _fetch_with_retries(url: str, partial: Path, target: Path) -> None:
    """Complete the file `partial`, starting at its end."""
    for delay in (*_RETRY_DELAYS, None):
        try:
            _fetch_rest(url, partial, target)
            return
        except _ConnectionLost as error:
            if delay is None:
                raise UserError(
                    f"The connection to {url} was lost {len(_RETRY_DELAYS) + 1} times ({error}). Run again to resume "
                    f"from {partial}, or download the file by hand, and put it at {target}."
                ) from error
            time.sleep(delay)


def _fetch_rest(url: str, partial: Path, target: Path) -> None:
    received = partial.stat().st_size if partial.exists() else 0
    request = Request(url, headers={"User-Agent": "mixlab"} | ({"Range": f"bytes={received}-"} if received else {}))
    try:
        response = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code != 416 or not received:
            raise _download_error(url, target, f"the server returned {error.code} {error.reason}") from error
        if error.headers.get("Content-Range") != f"bytes */{received}":  # otherwise `partial` is complete
            partial.unlink()
            _fetch_rest(url, partial, target)
        return
    except (OSError, HTTPException) as error:
        raise _download_error(url, target, _reason(error)) from error
    with response:
        received = received if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = received + int(length) if length else None
        with (
            partial.open("ab" if received else "wb") as file,
            progress(f"Downloading {target.name}", total or 0) as advance,
        ):
            advance(received)
            for chunk in _chunks(response):
                file.write(chunk)
                received += len(chunk)
                advance(len(chunk), f"{received / 1e6:.1f} MB")
    if total is not None and received < total:
        raise _ConnectionLost(f"{received} of {total} bytes received")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """Only reading is inside the try: an error while writing comes from the disk, not from the connection."""
    try:
        while chunk := response.read1(_CHUNK_SIZE):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _ConnectionLost(_reason(error)) from error


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no response for {_TIMEOUT:g} s"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _download_error(url: str, target: Path, reason: str) -> UserError:
    return UserError(f"{url} can't be downloaded ({reason}): download it by hand, and put it at {target}.")
