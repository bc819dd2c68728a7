"""Whether a training that goes on is the one that was begun: the same recipe on the same images."""

from collections.abc import Iterator, Mapping
from typing import Any

from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.training.job import Job
from mixlab.training.recipes.schema import Recipe

_MAY_CHANGE = ("data", "workers", "checkpoints", "expected", "trackers", "parallel")
"""Keys that change no bit of the weights, so a run may go on with others; `data` then names the same images."""


def check_same_training(run: Run, job: Job) -> None:
    """Raises UserError with every difference between what `run` was begun with and `job`."""
    check_same_recipe(run, run.recipe, job.recipe)
    changed = list(differences(run.data, job.dataset.summary))
    if changed:
        raise UserError(
            f"{run.path} was begun on other images: {'; '.join(changed)}. Put back what {run.recipe['data']} held, "
            "say with --data where those images lie now, or train anew into another folder."
        )


def check_same_recipe(run: Run, begun: Mapping[str, Any], recipe: Recipe) -> None:
    changed = list(differences(_compared_keys(begun), _compared_keys(recipe.to_dict())))
    if changed:
        raise UserError(
            f"{run.path} was begun with another recipe: {'; '.join(changed)}. Go on with the one it was begun with, or "
            "train anew into another folder."
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """A phrase for every key that differs, with dots between sections."""
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{within}{key}.")
        elif old != new:
            yield f"{within}{key} was {_shown(old)} and is {_shown(new)}"


def _compared_keys(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key not in _MAY_CHANGE}


def _shown(value: Any) -> str:
    return "not given" if value is None else repr(value)
