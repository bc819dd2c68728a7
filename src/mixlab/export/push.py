"""A folder onto the Hugging Face hub, through huggingface_hub and its own login."""

from pathlib import Path

from mixlab.errors import UserError
from mixlab.weights.hub import bars_on_a_terminal, network_errors


def require_repository_name(repository: str) -> None:
    """Raises UserError where `repository` is not owner/name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    mistake = f'"{repository}" is no name on the hub: it is owner/name, of letters, digits, "-", "_" and ".".'
    if repository.count("/") != 1:
        raise UserError(mistake)
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(mistake) from error


def require_login() -> None:
    from huggingface_hub import get_token

    if get_token() is None:
        raise UserError(
            "Nobody is logged in to the hub on this machine: run `hf auth login` with a token that may write, or leave "
            "the name out, and a folder alone is written."
        )


def push(folder: Path, repository: str, *, private: bool) -> str:
    """The address of the model's page on the hub. Raises UserError, which says where the folder is kept."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    kept = f"The folder is kept: `hf upload {repository} {folder}` sends it once that is mended."
    api = HfApi()
    try:
        with bars_on_a_terminal():
            page = api.create_repo(repository, private=private or None, exist_ok=True)
            if private and not api.model_info(repository).private:  # one that was there stays as it was
                raise UserError(
                    f"{repository} is on the hub already and is public, so --private would hide nothing, and nothing "
                    f"was sent: make it private at {page}/settings, or give another name. {kept}"
                )
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="mixlab publish")
    except HfHubHTTPError as error:
        raise UserError(f"{_refused(error.response.status_code, repository, str(error))} {kept}") from error
    except (*network_errors(), ValueError) as error:  # ValueError: the hub refuses what the card says
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{repository} could not be sent to {constants.ENDPOINT} ({_single_line(str(error))}). {kept}"
        ) from error
    return str(page)


def _refused(status: int, repository: str, answer: str) -> str:
    match status:
        case 401:
            return "The hub does not accept the login of this machine: run `hf auth login`."
        case 403:
            return (
                f"This login may not write to {repository} on the hub: run `hf auth login` with a token that may, or "
                "give a name of your own."
            )
        case _:
            return f"{repository} was refused by the hub ({_single_line(answer)})."


def _single_line(message: str) -> str:
    return " ".join(message.split()).rstrip(".")
