"""Whether a training that is resumed is the one that was started: the same recipe, code and data."""

from collections.abc import Iterator, Mapping
from typing import Any

from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.training.job import Job
from mixlab.zoo import user_code

_MAY_CHANGE = ("data", "workers", "checkpoints", "expected", "trackers", "parallel")
"""Keys that change no bit of the weights. Other `data` must hold the same images; so must other starting weights."""


def check_same_training(run: Run, job: Job) -> None:
    """Raises UserError with every difference between what `run` was started with and `job`."""
    check_same_recipe(run, run.recipe, job)
    changed = list(differences(run.data, job.dataset.summary))
    if changed:
        raise UserError(
            f"{run.path} was started on other images: {'; '.join(changed)}. Restore what {run.recipe['data']} held, "
            "give "
            "the place of the same images with --data, or train in another folder."
        )
    copy = run.path / user_code.COPY
    if copy.exists() and user_code.digest_of(copy) != job.architecture.code_digest:
        raise UserError(
            f"{run.path} was started with other code of {job.recipe.model}: its copy is {copy}. Resume the run with "
            "that "
            "code, by --resume, or train in another folder."
        )


def check_same_recipe(run: Run, started: Mapping[str, Any], job: Job) -> None:
    """`started`: the recipe of the run or of a checkpoint."""
    changed = list(differences(_compared_keys(started), _compared_keys(job.stored_recipe())))
    if changed:
        raise UserError(
            f"{run.path} was started with another recipe: {'; '.join(changed)}. Resume it with its own, or train in "
            "another folder."
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A phrase for every key that differs, with dots between sections."""
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key} was {_shown(old)} and is {_shown(new)}"


def _compared_keys(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The digest of starting weights decides, not their place."""
    compared = {key: value for key, value in recipe.items() if key not in _MAY_CHANGE}
    if "initialization" in compared:
        compared["initialization"] = {k: v for k, v in compared["initialization"].items() if k != "weights"}
    return compared


def _shown(value: Any) -> str:
    return "not set" if value is None else repr(value)
