"""Weights from the Hugging Face hub: a model's folder.

What is on this machine touches no network. Where the network fails, the sentence says what to fetch by hand, and where
to put it.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from mixlab.errors import UserError
from mixlab.files import translate_os_errors

_SAFETENSORS, _INDEX, _PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"


def hub_folder(name: str) -> Path:
    """The folder in the hub's cache with config.json and the weights of `name`: owner/name or owner/name@revision.

    The weights are model.safetensors, else its shards, else pytorch_model.bin. Raises UserError.
    """
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, _, tagged = name.partition("@")
    revision = tagged or "main"
    try:
        if folder := _cached(repository, revision):
            return folder
        with translate_os_errors(Path(constants.HF_HUB_CACHE)), bars_on_a_terminal():
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
    except network_errors() as error:
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


def network_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises where the network or the hub fails: requests' errors or httpx's, by its version."""
    from huggingface_hub.errors import HfHubHTTPError

    return OSError, cast(type[Exception], HfHubHTTPError.__bases__[0])


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
