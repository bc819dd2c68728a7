"""`mixlab train --dry-run`: what a training would do, before anything is written."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mixlab.errors import UserError

if TYPE_CHECKING:
    import torch

    from mixlab.data.dataset import Dataset
    from mixlab.training.recipes.head_recipe import HeadRecipe
    from mixlab.training.recipes.sections import Recipe

Say = Callable[[str], None]


def refuse_without_dry_run(figure: Path | None, resume: Path | None, *, dry_run: bool) -> None:
    if dry_run and resume is not None:
        raise UserError(f"--dry-run tells of a training that has not begun, as {resume} has: leave one of them out.")
    if figure is not None and not dry_run:
        raise UserError(f"--figure {figure} keeps what --dry-run says: give both.")


def foretell(
    recipe: "Recipe | HeadRecipe", dataset: "Dataset", device: "torch.device", say: Say, figure: Path | None
) -> None:
    """To standard output, and into `figure` where there is one."""
    from mixlab.training.recipes.head_recipe import HeadRecipe

    if isinstance(recipe, HeadRecipe):
        _foretell_head(recipe, dataset, device, say, figure)
    else:
        _foretell_steps(recipe, dataset, device, say, figure)


def _foretell_steps(
    recipe: "Recipe", dataset: "Dataset", device: "torch.device", say: Say, figure: Path | None
) -> None:
    from mixlab.training.foretelling.forecast import forecast
    from mixlab.training.foretelling.forecast_page import keeper, print_forecast
    from mixlab.training.foretelling.trial import decide_plan
    from mixlab.training.prepare import resolve
    from mixlab.training.processes import join, only_once
    from mixlab.training.trackers import require_trackers

    keep = figure and keeper(figure)
    require_trackers(recipe)
    job = resolve(recipe, dataset, device)
    processes = join(device)
    plan, seconds = only_once(lambda: decide_plan(job, say, processes.num_processes))
    if processes.is_main_process:
        told = forecast(job, plan, seconds)
        print_forecast(told)
        if keep:
            keep(told)


def _foretell_head(
    recipe: "HeadRecipe", dataset: "Dataset", device: "torch.device", say: Say, figure: Path | None
) -> None:
    from mixlab.training.heads.head import resolve_head
    from mixlab.training.heads.head_forecast import head_forecast
    from mixlab.training.heads.head_forecast_page import page_keeper, print_head_forecast
    from mixlab.training.processes import join

    keep = figure and page_keeper(figure)
    if not join(device).is_main_process:
        return
    job = resolve_head(recipe, dataset, device)
    for note in job.dataset.notes[len(dataset.notes) :]:
        say(note)
    told = head_forecast(job)
    print_head_forecast(told)
    if keep:
        keep(told)
