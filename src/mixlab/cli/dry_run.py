"""`mixlab train --dry-run`: the estimate of a training, without training."""

from pathlib import Path
from typing import TYPE_CHECKING

from mixlab.errors import UserError
from mixlab.report.progress import Log

if TYPE_CHECKING:
    import torch

    from mixlab.data.dataset import Dataset
    from mixlab.training.linear_probe.recipe import LinearProbeRecipe
    from mixlab.training.recipes.schema import Recipe


def check_dry_run_options(figure: Path | None, resume: Path | None, *, dry_run: bool) -> None:
    """Raises UserError for --dry-run with --resume, and for --figure without --dry-run."""
    if dry_run and resume is not None:
        raise UserError(f"--dry-run is for new trainings, but --resume {resume} continues one: remove one of them.")
    if figure is not None and not dry_run:
        raise UserError(f"--figure {figure} has no effect without --dry-run: add --dry-run, or remove it.")


def print_dry_run(
    recipe: "Recipe | LinearProbeRecipe", dataset: "Dataset", device: "torch.device", log: Log, figure: Path | None
) -> None:
    """Print the estimate to standard output, and write it to `figure` if given. Raises UserError."""
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

    write_figure = figure and figure_writer(figure)
    require_trackers(recipe)
    job = resolve(recipe, dataset, device)
    processes = init_distributed(device)
    plan, seconds = broadcast_from_main(lambda: select_plan(job, log, processes.num_processes))
    if processes.is_main_process:
        result = estimate(job, plan, seconds)
        print_estimate(result)
        if write_figure:
            write_figure(result)


def _dry_run_linear_probe(
    recipe: "LinearProbeRecipe", dataset: "Dataset", device: "torch.device", log: Log, figure: Path | None
) -> None:
    from mixlab.training.distributed import init_distributed
    from mixlab.training.linear_probe.estimate import linear_probe_estimate
    from mixlab.training.linear_probe.estimate_page import page_writer, print_linear_probe_estimate
    from mixlab.training.linear_probe.train import resolve_linear_probe

    write_page = figure and page_writer(figure)
    if not init_distributed(device).is_main_process:
        return
    job = resolve_linear_probe(recipe, dataset, device)
    for note in job.dataset.notes[len(dataset.notes) :]:
        log(note)
    result = linear_probe_estimate(job)
    print_linear_probe_estimate(result)
    if write_page:
        write_page(result)
