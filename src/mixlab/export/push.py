"""Uploads a folder to the Hugging Face hub, with the login of huggingface_hub."""

from pathlib import Path

from mixlab.errors import UserError
from mixlab.weights.hub import network_errors, progress_bars_on_terminal


def require_repository_name(repository: str) -> None:
    """Raises UserError if `repository` is not a valid owner/name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    message = (
        f'"{repository}" is not a valid name on the hub: it must be owner/name, with letters, digits, "-", "_" and ".".'
    )
    if repository.count("/") != 1:
        raise UserError(message)
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(message) from error


def require_login() -> None:
    """Raises UserError if no user is logged in to the hub on this machine."""
    from huggingface_hub import get_token

    if get_token() is None:
        raise UserError(
            "This machine is not logged in to the hub: run `hf auth login` with a token with write access, or leave "
            "the name out to write only a folder."
        )


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Uploads `folder` to `repository` (owner/name), which is created if necessary. Returns the URL of its page.

    Raises UserError if the hub refuses the upload, the network fails, or `private` is given for a public repository.
    The message contains the command to upload the folder later.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    retry = f"The folder was written: once this is fixed, upload it with `hf upload {repository} {folder}`."
    api = HfApi()
    try:
        with progress_bars_on_terminal():
            page = api.create_repo(repository, private=private or None, exist_ok=True)
            if private and not api.model_info(repository).private:  # an existing repository does not change
                raise UserError(
                    f"{repository} already exists on the hub and is public, so nothing was uploaded: make it private "
                    f"at {page}/settings, or give another name. {retry}"
                )
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="mixlab publish")
    except HfHubHTTPError as error:
        raise UserError(f"{_refusal(error.response.status_code, repository, str(error))} {retry}") from error
    except (*network_errors(), ValueError) as error:  # ValueError: the hub refuses the metadata of the card
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{repository} could not be uploaded to {constants.ENDPOINT} ({_single_line(str(error))}). {retry}"
        ) from error
    return str(page)


def _refusal(status: int, repository: str, message: str) -> str:
    match status:
        case 401:
            return "The hub rejected the login of this machine: run `hf auth login`."
        case 403:
            return (
                f"This login has no write access to {repository} on the hub: run `hf auth login` with a token that "
                "has, or give a name of your own."
            )
        case _:
            return f"The hub refused {repository} ({_single_line(message)})."


def _single_line(message: str) -> str:
    return " ".join(message.split()).rstrip(".")
