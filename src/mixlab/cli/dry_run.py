"""`mixlab train --dry-run`: what a training would do, before anything is written."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mixlab.errors import UserError

if TYPE_CHECKING:
    import torch

    from mixlab.data.dataset import Dataset
    from mixlab.training.linear_probe.recipe import HeadRecipe
    from mixlab.training.recipes.schema import Recipe

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
    from mixlab.training.linear_probe.recipe import HeadRecipe

    if isinstance(recipe, HeadRecipe):
        _foretell_head(recipe, dataset, device, say, figure)
    else:
        _foretell_steps(recipe, dataset, device, say, figure)


def _foretell_steps(
    recipe: "Recipe", dataset: "Dataset", device: "torch.device", say: Say, figure: Path | None
) -> None:
    from mixlab.training.distributed import join, only_once
    from mixlab.training.job import resolve
    from mixlab.training.planning.autotune import decide_plan
    from mixlab.training.planning.estimate import forecast
    from mixlab.training.planning.estimate_page import keeper, print_forecast
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
    from mixlab.training.distributed import join
    from mixlab.training.linear_probe.estimate import head_forecast
    from mixlab.training.linear_probe.estimate_page import page_keeper, print_head_forecast
    from mixlab.training.linear_probe.train import resolve_head

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
