"""The training loop, from the first step to the last. A single step is in `mixlab.training.step`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mixlab.data.rng import step_seed
from mixlab.evaluation.evaluate import predict_fn
from mixlab.evaluation.training_images import record_training_images, union
from mixlab.measure.memory import peak_bytes, reset_peak
from mixlab.report.progress import Log
from mixlab.report.progress import progress as progress_bar
from mixlab.runs.checkpoints import Checkpoint
from mixlab.runs.folder import Run
from mixlab.runs.history import selecting_score
from mixlab.speed.allocator import retain_freed_memory
from mixlab.speed.plan import Plan
from mixlab.training.activation_checkpointing import build_for_steps
from mixlab.training.batch_norm import require_enough_images
from mixlab.training.distributed import (
    all_gather,
    all_reduce_any,
    broadcast_buffers,
    broadcast_from_main,
    cpu_group,
    error_on_all_ranks,
    gather,
    init_distributed,
    make_accelerator,
    parallelize,
)
from mixlab.training.early_stopping import stops_early
from mixlab.training.ema import ModelEma
from mixlab.training.epoch_lines import EpochLines
from mixlab.training.job import Job
from mixlab.training.novelty import novelty_detector
from mixlab.training.objective import make_objective
from mixlab.training.optimizer import build_optimizers
from mixlab.training.recipes.schema import Recipe
from mixlab.training.run_writer import RunWriter
from mixlab.training.schedule import lr_factor
from mixlab.training.signals import StopSignals
from mixlab.training.state import BestScore, Progress, TrainingState
from mixlab.training.step import TrainStep
from mixlab.training.step_metrics import StepMetrics
from mixlab.training.trackers import require_trackers, tracked
from mixlab.training.validation import Validation

_LOG_EVERY = 20
"""Steps between two lines of the journal. Reading the loss waits for the device, so it is not read in every step."""


def train(job: Job, plan: Plan, folder: Path, *, quiet: bool, on_wait: Log | None = None) -> Run:
    """Train `job` in `folder` and return the finished run. Collective: call it on every rank.

    job      from `resolve`
    plan     how to compute; a run that is resumed uses its own plan
    folder   new or empty, or with a run of the same job: an unfinished one is resumed, a finished one is returned
    quiet    no progress bars, and no lines where standard error is not a terminal
    on_wait  called with a message if another process trains in the folder; then `train` waits and returns the run of
             that process. None: raises LeaseHeldError instead

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 stop the training after the current step: a checkpoint is written and
    Interrupted is raised. A second Ctrl-C stops it at once.
    Raises UserError for errors that only occur during training, such as unreadable images, a full disk, or a loss that
    is not finite. The last checkpoint stays; a new folder without a checkpoint is removed.
    """
    require_trackers(job.recipe)
    init_distributed(job.device)
    writer = RunWriter(Run(folder), job)
    with _preserve_torch_state(job.device), ExitStack() as stack:
        plan_or_none = broadcast_from_main(lambda: stack.enter_context(writer.open(plan, on_wait)))
        if plan_or_none is None:
            return writer.run
        try:
            _fit(job, plan_or_none, writer, quiet=quiet)
        except BaseException as error:
            with StopSignals():  # torchrun ends the other processes with SIGTERM
                writer.on_failure(error)
            raise
    return writer.run


@contextmanager
def _preserve_torch_state(device: torch.device) -> Iterator[None]:
    """Restore the random number generators, and the number of CPU threads, which a plan may set."""
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(threads)


@error_on_all_ranks()
def _fit(job: Job, plan: Plan, writer: RunWriter, *, quiet: bool) -> None:
    recipe = job.recipe
    plan.rewrites.build_here()  # an error before the first step, on all ranks
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    if plan.freed_memory == "retained":
        retain_freed_memory()
    accelerator = make_accelerator(job.device, plan.mode.precision)
    device, rank = accelerator.device, accelerator.process_index
    quiet = quiet or not accelerator.is_main_process
    reset_peak(device)

    batches = job.training_batches(quiet=quiet)
    require_enough_images(job, plan, len(job.dataset.splits["train"]) - len(batches.unreadable))
    steps_per_epoch, steps = len(batches), job.steps(len(batches))
    validation = Validation(job, accelerator, quiet=quiet) if "validation" in job.dataset.splits else None
    torch.manual_seed(recipe.seed)
    network = build_for_steps(job, device, plan)
    model = parallelize(network, accelerator, recipe.parallel)
    optimizers = [accelerator.prepare(optimizer) for optimizer in build_optimizers(recipe.optimizer, network)]
    ema = ModelEma(network, recipe.ema.decay) if recipe.ema else None
    train_step = TrainStep(job, plan, accelerator, model, optimizers, make_objective(job, device))
    parameters = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    best = BestScore()
    state = TrainingState(job, network, optimizers, ema, best, accelerator)
    group = cpu_group()

    with (
        writer.checkpoints() as checkpoints,
        writer.journal() as journal,
        StopSignals() as signals,
        ExitStack() as stack,
    ):
        progress = writer.resume(state, checkpoints, journal)
        log = stack.enter_context(tracked(recipe, writer.run.path, accelerator, step=progress.step))
        advance = stack.enter_context(progress_bar(f"train {recipe.model}", total=steps, quiet=quiet))
        advance(progress.step)
        metrics = StepMetrics(accelerator)
        epoch_lines = EpochLines(progress, steps, steps_per_epoch, job.dataset.noun, quiet=quiet)
        stopped = False

        while not _is_complete(recipe, progress, steps) and not stopped:
            epoch, start = divmod(progress.step, steps_per_epoch)
            model.train()
            progress.begin_epoch()
            remaining = islice(batches.epoch(epoch, start, (rank, accelerator.num_processes)), steps - progress.step)
            for batch in metrics.timed(remaining):
                torch.manual_seed(step_seed(recipe.seed, progress.step, rank))
                factor = lr_factor(recipe.schedule, progress.step, steps, steps_per_epoch)
                result = train_step(batch, recipe.optimizer.learning_rate * factor)
                progress.step += 1
                if recipe.non_finite == "skip" and not result.is_finite():
                    journal.write("skipped", step=progress.step, epoch=epoch + 1, reason="a gradient is not finite")
                else:
                    if ema is not None:
                        ema.update()
                    progress.add(result)
                    metrics.add(progress.step, result)
                advance(1, f"epoch {epoch + 1}")
                if progress.step % _LOG_EVERY == 0 and metrics:
                    writer.check_finite(metrics, parameters)
                    line = metrics.flush()
                    journal.write("step", step=progress.step, epoch=epoch + 1, **line)
                    log(line, progress.step)
                stopped, due = all_reduce_any([signals.received is not None, checkpoints.due(progress.step)], group)
                if (stopped or due) and progress.step % steps_per_epoch and progress.step < steps:
                    writer.check_finite(metrics, parameters)
                    writer.require_lease()
                    checkpoints.save(state.snapshot(progress, journal.bytes))
                    if stopped:
                        raise writer.interrupted(signals.received, progress.step, steps)

            writer.check_finite(metrics, parameters)
            with metrics.paused():
                line: dict[str, Any] = {"train": progress.end_epoch(job.task, accelerator), "validation": None}
                if validation is not None and (_is_validated(recipe, epoch) or progress.step == steps):
                    with nullcontext() if ema is None else ema.applied():
                        broadcast_buffers(network)
                        line["validation"], fitted = validation.evaluate(predict_fn(network, device, plan.mode))
                    progress.scores.append(selecting_score(line["validation"]))
                    if best.update(progress.scores[-1]):
                        metadata = line["validation"] | {"step": progress.step} | ({"fitted": fitted} if fitted else {})
                        checkpoints.save_best(Checkpoint(_weights(network, ema), metadata))
                journal.write("epoch", step=progress.step, epoch=epoch + 1, seconds=progress.seconds, **line)
                log(line, progress.step)
                epoch_lines.log(epoch + 1, line)
                writer.require_lease()
                checkpoints.save(state.snapshot(progress, journal.bytes))
                writer.update_page()
            if stopped and not _is_complete(recipe, progress, steps):
                raise writer.interrupted(signals.received, progress.step, steps)

        if progress.step < steps:
            journal.write("stopped_early", step=progress.step, epoch=progress.step // steps_per_epoch)
        journal.write(
            "end",
            training_seconds=progress.seconds,
            images=progress.images,
            peak_bytes=peak_bytes(device),
            unreadable=batches.unreadable | (validation.unreadable if validation else {}),
        )
        best_checkpoint = checkpoints.best() if validation else None
        weights = best_checkpoint.tensors if best_checkpoint else _weights(network, ema)
        images = record_training_images(job.dataset, (rank, accelerator.num_processes), quiet=quiet)
        learned = writer.with_initial_images(union(all_gather(images)))
        novelty = novelty_detector(job, weights, learned, accelerator, batch=plan.micro_batch, quiet=quiet)
        writer.finish(weights, learned, novelty, best_checkpoint.metadata.get("fitted", {}) if best_checkpoint else {})
    accelerator.wait_for_everyone()


def _is_validated(recipe: Recipe, epoch: int) -> bool:
    """Whether another `validate_every` epochs are over at the end of `epoch`, which is counted from 0."""
    return (epoch + 1) // recipe.validate_every > epoch // recipe.validate_every


def _is_complete(recipe: Recipe, progress: Progress, steps: int) -> bool:
    """Whether all steps are done, or the training stops early."""
    early = recipe.early_stopping is not None and stops_early(recipe.early_stopping, progress.scores)
    return early or progress.step >= steps


def _weights(network: nn.Module, ema: ModelEma | None) -> dict[str, Tensor]:
    """The averaged weights if there are any, else the current ones. Collective: call it on every rank."""
    averaged = ema.state_dict() if ema else {}
    return averaged or {name: gather(tensor) for name, tensor in network.state_dict().items()}
