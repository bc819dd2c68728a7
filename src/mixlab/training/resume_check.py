"""Checks that a training that is resumed has the recipe, code and data that it was started with."""

from collections.abc import Iterator, Mapping
from typing import Any

from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.training.initial_weights import without_paths_of_weights
from mixlab.training.job import Job
from mixlab.training.linear_probe.train import LinearProbeJob
from mixlab.zoo import user_code

_MAY_CHANGE = ("data", "workers", "checkpoints", "expected", "trackers", "parallel")
"""Keys that may change because they don't affect the weights. `data` may be another path to the same images."""


def check_same_training(run: Run, job: Job | LinearProbeJob) -> None:
    """Raises UserError, with every difference, if `run` was started with another recipe, other data or other code."""
    check_same_recipe(run, run.recipe, job)
    changed = list(differences(run.data, job.dataset.summary))
    if changed:
        noun = job.dataset.noun
        raise UserError(
            f"{run.path} was started on other {noun}s: {'; '.join(changed)}. Restore the {noun}s of "
            f"{run.recipe['data']}, give the path of the same {noun}s with --data, or train in another folder."
        )
    copy = run.path / user_code.COPY
    if copy.exists() and user_code.digest_of(copy) != job.architecture.code_digest:
        raise UserError(
            f"{run.path} was started with other code of {job.recipe.model}, which is saved in {copy}. Resume the run "
            "with that code by --resume, or train in another folder."
        )


def check_same_recipe(run: Run, started: Mapping[str, Any], job: Job | LinearProbeJob) -> None:
    """Raises UserError, with every difference, if `started`, the recipe of a run or checkpoint, is not the job's."""
    changed = list(differences(_compared_keys(started), _compared_keys(job.stored_recipe())))
    if changed:
        way_out = (
            f"It is finished: to train its weights further, start a new run with --model {run.path}."
            if run.is_finished
            else "Resume it with its own recipe, or train in another folder."
        )
        raise UserError(f"{run.path} was started with another recipe: {'; '.join(changed)}. {way_out}")


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A phrase for every key that differs, such as "optimizer.momentum was 0.9 and is 0.8"."""
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key} was {_format(old)} and is {_format(new)}"


def _compared_keys(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that must not change. Starting weights are compared by their digest, not by their path."""
    return without_paths_of_weights({key: value for key, value in recipe.items() if key not in _MAY_CHANGE})


def _format(value: Any) -> str:
    return "not set" if value is None else repr(value)
