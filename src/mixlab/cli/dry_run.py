"""`mixlab train --dry-run`: what a training would do, before anything is written."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mixlab.errors import UserError

if TYPE_CHECKING:
    import torch

    from mixlab.data.dataset import Dataset
    from mixlab.training.linear_probe.recipe import LinearProbeRecipe
    from mixlab.training.recipes.schema import Recipe

Log = Callable[[str], None]


def check_dry_run_options(figure: Path | None, resume: Path | None, *, dry_run: bool) -> None:
    if dry_run and resume is not None:
        raise UserError(f"--dry-run tells of a training that has not begun, as {resume} has: leave one of them out.")
    if figure is not None and not dry_run:
        raise UserError(f"--figure {figure} keeps what --dry-run says: give both.")


def print_dry_run(
    recipe: "Recipe | LinearProbeRecipe", dataset: "Dataset", device: "torch.device", log: Log, figure: Path | None
) -> None:
    """To standard output, and into `figure` where there is one."""
    from mixlab.training.linear_probe.recipe import LinearProbeRecipe

    if isinstance(recipe, LinearProbeRecipe):
        _dry_run_linear_probe(recipe, dataset, device, log, figure)
    else:
        _dry_run_training(recipe, dataset, device, log, figure)


def _dry_run_training(
    recipe: "Recipe", dataset: "Dataset", device: "torch.device", log: Log, figure: Path | None
) -> None:
    from mixlab.training.distributed import broadcast_from_main, init_distributed
    from mixlab.training.job import resolve
    from mixlab.training.planning.autotune import select_plan
    from mixlab.training.planning.estimate import estimate
    from mixlab.training.planning.estimate_page import figure_writer, print_estimate
    from mixlab.training.trackers import require_trackers

    keep = figure and figure_writer(figure)
    require_trackers(recipe)
    job = resolve(recipe, dataset, device)
    processes = init_distributed(device)
    plan, seconds = broadcast_from_main(lambda: select_plan(job, log, processes.num_processes))
    if processes.is_main_process:
        told = estimate(job, plan, seconds)
        print_estimate(told)
        if keep:
            keep(told)


def _dry_run_linear_probe(
    recipe: "LinearProbeRecipe", dataset: "Dataset", device: "torch.device", log: Log, figure: Path | None
) -> None:
    from mixlab.training.distributed import init_distributed
    from mixlab.training.linear_probe.estimate import linear_probe_estimate
    from mixlab.training.linear_probe.estimate_page import page_writer, print_linear_probe_estimate
    from mixlab.training.linear_probe.train import resolve_linear_probe

    keep = figure and page_writer(figure)
    if not init_distributed(device).is_main_process:
        return
    job = resolve_linear_probe(recipe, dataset, device)
    for note in job.dataset.notes[len(dataset.notes) :]:
        log(note)
    told = linear_probe_estimate(job)
    print_linear_probe_estimate(told)
    if keep:
        keep(told)
