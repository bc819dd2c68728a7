"""Weights from elsewhere: a file by plain HTTP(S), a model's folder from the Hugging Face hub.

What is on this machine touches no network. Where the network fails, the sentence says what to fetch by hand, and where
to put it.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from mixlab.errors import UserError
from mixlab.files import explained, parents, write_text
from mixlab.report.progress import progress

_PATIENCE = 30.0  # seconds without a byte
_PAUSES = (0.5, 2.0, 5.0)  # seconds before each resumed try
_CHUNK = 2**20  # bytes
_SAFETENSORS, _INDEX, _PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"


class _BrokenOff(Exception):  # noqa: N818  it is named for what happened
    """The connection ended before the file did."""


def downloaded(url: str, target: Path, sha256: str | None) -> Path:
    """`target`, fetched from `url` where it is not there yet. Raises UserError.

    A download that was cut off is resumed. Its SHA-256 is computed once, and stands beside it in `target`.sha256.
    """
    if target.exists():
        return target
    part = target.with_name(f"{target.name}.part")
    with explained(target), parents(target):
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


def hub_folder(name: str) -> Path:
    """The folder in the hub's cache with config.json and the weights of `name`: owner/name or owner/name@revision.

    The weights are model.safetensors, else its shards, else pytorch_model.bin. Raises UserError.
    """
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, _, tagged = name.partition("@")
    revision = tagged or "main"
    # of requests or of httpx, as this version of the hub's client has it
    transport_error = cast(type[Exception], HfHubHTTPError.__bases__[0])
    try:
        if folder := _cached(repository, revision):
            return folder
        with explained(Path(constants.HF_HUB_CACHE)), bars_on_a_terminal():
            files = [file.rfilename for file in HfApi().model_info(repository, revision=revision).siblings or ()]
            weights = _weights(files)
            if not weights:
                raise UserError(_no_weights(name, files))
            found = snapshot_download(repository, revision=revision, allow_patterns=["config.json", *weights])
            if "config.json" not in files:  # asked once, the cache knows that there is none
                with suppress(EntryNotFoundError):
                    hf_hub_download(repository, "config.json", revision=revision)
        return Path(found)
    except HFValidationError as error:
        raise UserError(f'"{name}" is no name on the hub: it is owner/name, or owner/name@revision.') from error
    except GatedRepoError as error:
        raise UserError(
            f"{name} is gated on the hub: accept its terms at {constants.ENDPOINT}/{repository}, then run "
            "`hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{name} is not on the hub, or is private: check the spelling, or run `hf auth login` with an account "
            "that may read it."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f'{repository} has no revision "{revision}" on the hub: {constants.ENDPOINT}/{repository}/tree/main '
            "lists its branches and tags."
        ) from error
    except (OSError, transport_error) as error:
        address = f"{constants.ENDPOINT}/{repository}/resolve/{revision}"
        raise UserError(
            f"{name} can't be fetched from the hub ({_first_line(error)}): fetch {address}/{_SAFETENSORS} and "
            f"{address}/config.json by hand, put both in a folder, and give that folder as the model."
        ) from error


def cached_weights(repository: str, revision: str = "main") -> Path | None:
    """The folder in the hub's cache with the weights of owner/name, whichever program has put them there."""
    from huggingface_hub import try_to_load_from_cache

    for weights in (_SAFETENSORS, _INDEX, _PICKLE):
        found = try_to_load_from_cache(repository, weights, revision=revision)
        if isinstance(found, str):
            folder = Path(found).parent
            return folder if all((folder / shard).exists() for shard in _shards(Path(found))) else None
    return None


def _cached(repository: str, revision: str) -> Path | None:
    """The folder in the hub's cache, if all that is needed is in it."""
    from huggingface_hub import try_to_load_from_cache

    if try_to_load_from_cache(repository, "config.json", revision=revision) is None:  # neither there nor known to lack
        return None
    return cached_weights(repository, revision)


def _shards(weights: Path) -> Iterable[str]:
    if weights.name != _INDEX:
        return ()
    return set(json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values())


def _weights(files: list[str]) -> list[str]:
    """Of a repository's files, those that hold the weights; none where it has no weights that mixlab reads."""
    if _SAFETENSORS in files:
        return [_SAFETENSORS]
    if _INDEX in files:
        return [_INDEX, *(file for file in files if file.startswith("model-") and file.endswith(".safetensors"))]
    return [_PICKLE] if _PICKLE in files else []


def _no_weights(name: str, files: list[str]) -> str:
    listed = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
    return (
        f"{name} on the hub has neither {_SAFETENSORS}, whole or in shards, nor {_PICKLE}, but {listed or 'no files'}: "
        "where one of these holds the weights, fetch it by hand and give the file."
    )


@contextmanager
def bars_on_a_terminal() -> Iterator[None]:
    from huggingface_hub import constants
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    decided = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled()
    if decided or sys.stderr.isatty():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
