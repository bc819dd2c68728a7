"""Start or resume one training or linear probe of a checked recipe."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState

from mixlab.data.dataset import Dataset
from mixlab.data.preprocess import Preprocess
from mixlab.data.value_range import range_notes
from mixlab.errors import UserError
from mixlab.evaluation.unseen_images import learned_validation_notes
from mixlab.measure.machine import device_name
from mixlab.report.progress import Log
from mixlab.runs.folder import Run
from mixlab.runs.store import finished_run
from mixlab.speed.plan import Plan
from mixlab.training.distributed import broadcast_from_main, init_distributed
from mixlab.training.job import Job, resolve
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.linear_probe.train import LinearProbeJob, resolve_linear_probe, train_linear_probe
from mixlab.training.loop import train
from mixlab.training.planning.autotune import select_plan
from mixlab.training.rank_check import check_same_dataset
from mixlab.training.recipes.schema import Recipe
from mixlab.training.resume_check import check_same_training
from mixlab.training.trackers import require_trackers


def launch(
    recipe: Recipe | LinearProbeRecipe,
    dataset: Dataset,
    device: torch.device,
    folder: Path | None = None,
    plan: Plan | None = None,
    *,
    log: Log,
    quiet: bool,
) -> Run:
    """Train `recipe` on `dataset` and return the finished run. Collective: call it on every rank.

    dataset  the result of `open_dataset` for `recipe.data`
    folder   the run's folder; an unfinished run of the same training in it is resumed, a finished one is returned.
             None: the folder in the store
    plan     for a run that is not resumed; None: the fastest plan on this machine. A linear probe has a fixed plan
    log      called with progress messages
    quiet    no progress bars

    Raises UserError, for example if the processes have different datasets, and Interrupted after a signal.
    """
    if init_distributed(device).num_processes > 1:
        check_same_dataset(dataset)
    if isinstance(recipe, LinearProbeRecipe):
        return _launch_linear_probe(recipe, dataset, device, folder, log=log, quiet=quiet)
    require_trackers(recipe)
    job = resolve(recipe, dataset, device)
    if finished := _finished(job, folder, log):
        return finished
    run_folder = folder or job.folder()
    learned = learned_validation_notes(job.dataset, job.initial_models, quiet=True)
    ranges = range_notes(job.preprocess) if isinstance(job.preprocess, Preprocess) else ()
    for note in (*ranges, *learned):
        log(note)
    return train(job, _plan(job, run_folder, plan, log), run_folder, quiet=quiet, on_wait=log)


def _finished(job: Job | LinearProbeJob, folder: Path | None, log: Log) -> Run | None:
    """The finished run in `folder`, or in the store. Raises UserError if `folder` has the run of another training."""
    run = finished_run(folder or job.folder())
    if run is not None:
        if folder is not None:  # in the store, the name of the folder identifies the training
            check_same_training(run, job)
        log("This training is already finished.")
    return run


def _plan(job: Job, folder: Path, given: Plan | None, log: Log) -> Plan:
    """The plan of the run that is resumed, else `given`, else the fastest plan on this machine."""
    if Run(folder).is_unfinished:
        plan = Plan.from_dict(Run(folder).plan)
        log(f"Resuming {folder} with its plan: {plan}.")
        _log_other_kernels(plan, log)
        return plan
    if given is not None:
        if job.recipe.precision not in ("auto", given.mode.precision):
            raise UserError(
                f"The plan that is given has {given.mode.precision}, but the recipe has precision="
                f"{job.recipe.precision!r}: remove one of them."
            )
        given = replace(given, processes=PartialState().num_processes)
        log(f"Device: {device_name(job.device)}. The plan is given: {given}.")
        _log_other_kernels(given, log)
        return given
    selection = (
        'With speed="off", a few steps are timed:'
        if job.recipe.speed == "off"
        else "The fastest compute mode is selected by the time of a few steps:"
    )
    log(f"Device: {device_name(job.device)}. {selection}")
    processes = PartialState().num_processes
    plan, seconds = broadcast_from_main(lambda: select_plan(job, log, processes))
    log(f"  {plan}, {1000 * seconds:.0f} ms per step of {job.batch} {job.dataset.noun}s")
    if processes > 1:
        log(
            f"  {processes} processes share each step; batch normalisation uses only the {job.dataset.noun}s of its "
            "own process"
        )
    return plan


def _log_other_kernels(plan: Plan, log: Log) -> None:
    with suppress(UserError):  # raised again by `train`, on all ranks
        if (here := plan.rewrites.build_here()) != plan.rewrites.kernel_build:
            log(
                f"The kernels of the plan were compiled as {plan.rewrites.kernel_build}, and here as {here}: the "
                "weights can differ by rounding errors from those of a training with the same kernels throughout."
            )


def _launch_linear_probe(
    recipe: LinearProbeRecipe, dataset: Dataset, device: torch.device, folder: Path | None, *, log: Log, quiet: bool
) -> Run:
    job = resolve_linear_probe(recipe, dataset, device)
    learned = learned_validation_notes(job.dataset, [str(job.backbone.source)], quiet=True)
    for note in (*job.dataset.notes[len(dataset.notes) :], *range_notes(job.backbone.preprocess), *learned):
        log(note)
    return broadcast_from_main(
        lambda: _finished(job, folder, log) or train_linear_probe(job, folder or job.folder(), quiet=quiet, on_wait=log)
    )
