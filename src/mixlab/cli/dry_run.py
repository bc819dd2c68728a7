"""`mixlab train --dry-run`: what a training would do, before anything is written."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mixlab.errors import UserError

if TYPE_CHECKING:
    import torch

    from mixlab.data.dataset import Dataset
    from mixlab.training.forecast import Forecast
    from mixlab.training.head_recipe import HeadRecipe
    from mixlab.training.sections import Recipe

Say = Callable[[str], None]
Keep = Callable[["Forecast"], None]


def keeper_of(figure: Path | None, resume: Path | None, *, dry_run: bool) -> Keep | None:
    from mixlab.training.forecast_page import keeper

    if dry_run and resume is not None:
        raise UserError(f"--dry-run tells of a training that has not begun, as {resume} has: leave one of them out.")
    if figure is None:
        return None
    if not dry_run:
        raise UserError(f"--figure {figure} keeps what --dry-run says: give both.")
    return keeper(figure)


def foretell(
    recipe: "Recipe | HeadRecipe",
    dataset: "Dataset",
    device: "torch.device",
    say: Say,
    keep: Keep | None,
) -> None:
    from mixlab.training.forecast import forecast
    from mixlab.training.forecast_page import print_forecast
    from mixlab.training.head_recipe import HeadRecipe
    from mixlab.training.prepare import resolve
    from mixlab.training.processes import join, only_once
    from mixlab.training.trackers import require_trackers
    from mixlab.training.trial import decide_plan

    if isinstance(recipe, HeadRecipe):
        pictures = sum(len(part) for name, part in dataset.parts.items() if name != "test")
        print(
            f"{pictures:,} pictures would go through {recipe.model} once, and a head for {len(dataset.classes)} "
            "classes would be fitted to what it sees in them."
        )
        return
    require_trackers(recipe)
    job = resolve(recipe, dataset, device)
    processes = join(device)
    plan, seconds = only_once(lambda: decide_plan(job, say, processes.num_processes))
    if processes.is_main_process:
        told = forecast(job, plan, seconds)
        print_forecast(told)
        if keep is not None:
            keep(told)
