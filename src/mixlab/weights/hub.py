"""Downloads weights from the Hugging Face hub.

Files in the local cache are used without the network. If the network fails, the error message says which files to
download manually and where to put them.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from mixlab.errors import UserError
from mixlab.files import translate_write_errors

_SAFETENSORS, _INDEX, _PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"


def hub_folder(name: str) -> Path:
    """The folder in the hub's cache with config.json and the weights of a model. Downloads them if necessary.

    `name` is owner/name or owner/name@revision. The weights are model.safetensors, or else its shards, or else
    pytorch_model.bin. Raises UserError if the repository or the revision does not exist, is not accessible, or contains
    no weights, and if the network fails.
    """
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, _, given_revision = name.partition("@")
    revision = given_revision or "main"
    try:
        if folder := _cached(repository, revision):
            return folder
        with translate_write_errors(Path(constants.HF_HUB_CACHE)), progress_bars_on_terminal():
            files = [file.rfilename for file in HfApi().model_info(repository, revision=revision).siblings or ()]
            weights = _weights_files(files)
            if not weights:
                raise UserError(_no_weights(name, files))
            folder = snapshot_download(repository, revision=revision, allow_patterns=["config.json", *weights])
            if "config.json" not in files:  # this request records in the cache that the file does not exist
                with suppress(EntryNotFoundError):
                    hf_hub_download(repository, "config.json", revision=revision)
        return Path(folder)
    except HFValidationError as error:
        raise UserError(
            f'"{name}" is not a valid name on the hub: it must be owner/name or owner/name@revision.'
        ) from error
    except GatedRepoError as error:
        raise UserError(
            f"{name} is a gated repository: accept its terms at {constants.ENDPOINT}/{repository}, then run "
            "`hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{name} does not exist on the hub or is private: check the spelling, or run `hf auth login` with an "
            "account that can read it."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f'{repository} has no revision "{revision}" on the hub: see {constants.ENDPOINT}/{repository}/tree/main '
            "for its branches and tags."
        ) from error
    except network_errors() as error:
        address = f"{constants.ENDPOINT}/{repository}/resolve/{revision}"
        raise UserError(
            f"{name} can't be downloaded from the hub ({_first_line(error)}): download {address}/{_SAFETENSORS} and "
            f"{address}/config.json manually, put both into one folder, and give that folder as the model."
        ) from error


def cached_weights(repository: str, revision: str = "main") -> Path | None:
    """The folder in the hub's cache with the weights of owner/name, whichever program downloaded them; or None."""
    from huggingface_hub import try_to_load_from_cache

    for weights in (_SAFETENSORS, _INDEX, _PICKLE):
        cached = try_to_load_from_cache(repository, weights, revision=revision)
        if isinstance(cached, str):
            folder = Path(cached).parent
            return folder if all((folder / shard).exists() for shard in _shards(Path(cached))) else None
    return None


def _cached(repository: str, revision: str) -> Path | None:
    """The folder in the hub's cache if it is complete, else None."""
    from huggingface_hub import try_to_load_from_cache

    if (
        try_to_load_from_cache(repository, "config.json", revision=revision) is None
    ):  # not cached, and not known to be missing
        return None
    return cached_weights(repository, revision)


def _shards(weights: Path) -> Iterable[str]:
    if weights.name != _INDEX:
        return ()
    return set(json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values())


def _weights_files(files: list[str]) -> list[str]:
    """The files of a repository that contain the weights; empty if mixlab reads none of the files."""
    if _SAFETENSORS in files:
        return [_SAFETENSORS]
    if _INDEX in files:
        return [_INDEX, *(file for file in files if file.startswith("model-") and file.endswith(".safetensors"))]
    return [_PICKLE] if _PICKLE in files else []


def _no_weights(name: str, files: list[str]) -> str:
    listed = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
    return (
        f"{name} on the hub has neither {_SAFETENSORS} (or its shards) nor {_PICKLE}. Its files: {listed or 'none'}. "
        "If one of them contains the weights, download it manually and give that file."
    )


def network_errors() -> tuple[type[Exception], ...]:
    """The exceptions of the hub's client if the network or the hub fails: from requests or httpx, by version."""
    from huggingface_hub.errors import HfHubHTTPError

    return OSError, cast(type[Exception], HfHubHTTPError.__bases__[0])


@contextmanager
def progress_bars_on_terminal() -> Iterator[None]:
    """Disables the progress bars of the hub's client if standard error is not a terminal and the user set nothing."""
    from huggingface_hub import constants
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    set_by_user = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled()
    if set_by_user or sys.stderr.isatty():
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
