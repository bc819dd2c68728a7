"""The loop: what happens between the first step of a training and its last. A step itself is in step.py."""

from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from mixlab.data.rng import step_seed
from mixlab.evaluation.evaluate import predict_fn
from mixlab.files import create_parents
from mixlab.measure.memory import peak_bytes
from mixlab.report.progress import progress as progress_bar
from mixlab.runs.checkpoints import Checkpoint
from mixlab.runs.folder import Run
from mixlab.speed.allocator import retain_freed_memory
from mixlab.speed.plan import Plan, prepare_model
from mixlab.training.distributed import Agreement, broadcast_from_main, make_accelerator, parallelize
from mixlab.training.ema import Kept
from mixlab.training.job import Job
from mixlab.training.objective import objective_of
from mixlab.training.optimizer import build_optimizers
from mixlab.training.run_writer import RunWriter
from mixlab.training.schedule import lr_factor
from mixlab.training.signals import StopSignals
from mixlab.training.state import TrainingState
from mixlab.training.step import TrainStep
from mixlab.training.step_metrics import StepMetrics
from mixlab.training.trackers import require_trackers, tracked
from mixlab.training.validation import Validation

_LOG_EVERY = 20
"""The loss stays on the device and is read this often, since reading it waits for the device."""


def train(job: Job, plan: Plan, folder: Path, *, quiet: bool) -> Run:
    """Train, and leave a finished run in `folder`; this very training, interrupted there, goes on where it was.

    Every process calls it. SIGTERM and SIGUSR1 end it after a step and a checkpoint, with `Interrupted`. A mistake that
    shows only now (a broken image, a rate that diverges, a full disk) leaves the last checkpoint intact; where there
    is none yet, the folder goes.
    """
    require_trackers(job.recipe)
    if plan.freed_memory == "kept":
        retain_freed_memory()
    accelerator = make_accelerator(job.device, plan.mode.precision)
    records = RunWriter(Run(folder), job, plan, accelerator)
    with create_parents(folder), ExitStack() as opened:
        broadcast_from_main(lambda: opened.enter_context(records.open()))
        try:
            _fit(job, plan, records, accelerator, quiet=quiet or not accelerator.is_main_process)
        except BaseException as error:
            records.on_failure(error)
            raise
        accelerator.wait_for_everyone()
    return records.run


def _fit(job: Job, plan: Plan, records: RunWriter, accelerator: Accelerator, *, quiet: bool) -> None:
    """Take the steps, and leave the weights to keep."""
    recipe, share = job.recipe, (accelerator.process_index, accelerator.num_processes)
    batches = job.training_batches(quiet=quiet)
    validation = Validation(job, accelerator, quiet=quiet) if "validation" in job.dataset.splits else None
    torch.manual_seed(recipe.seed)
    network = prepare_model(job.build(), accelerator.device, plan.mode)
    model = parallelize(network, accelerator, recipe.parallel)
    parameters = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    optimizers = [accelerator.prepare(one) for one in build_optimizers(recipe.optimizer, network)]
    objective = objective_of(job, accelerator.device)
    take_step = TrainStep(recipe, plan, accelerator, model, list(parameters.values()), optimizers, objective)
    kept = Kept(network, recipe.ema)
    state = TrainingState(recipe, network, optimizers, kept, accelerator)
    agreement = Agreement()
    steps_per_epoch, steps = len(batches), job.steps(len(batches))
    with (
        records.checkpoints() as checkpoints,
        records.journal() as journal,
        StopSignals() as signals,
        ExitStack() as stack,
    ):
        progress = records.resume(state, checkpoints, journal)
        log = stack.enter_context(tracked(recipe, records.run.path, accelerator, step=progress.step))
        advance = stack.enter_context(progress_bar(f"train {recipe.model}", total=steps, quiet=quiet))
        advance(progress.step)
        window = StepMetrics(accelerator)
        stopped = False
        while progress.step < steps and not stopped:
            epoch, start = divmod(progress.step, steps_per_epoch)
            model.train()
            progress.begin_epoch()
            coming = islice(batches.epoch(epoch, start, share), steps - progress.step)
            for batch in window.timed(coming):
                torch.manual_seed(step_seed(recipe.seed, progress.step, accelerator.process_index))
                rate = recipe.optimizer.learning_rate * lr_factor(
                    recipe.schedule, progress.step, steps, steps_per_epoch
                )
                taken = take_step(batch, rate)
                progress.step += 1
                if recipe.non_finite == "skip" and not taken.is_finite():
                    journal.write("skipped", step=progress.step, epoch=epoch + 1, reason="a gradient is no number")
                else:
                    kept.follow()
                    progress.add(taken)
                    window.add(progress.step, taken)
                advance(1, f"epoch {epoch + 1}")
                if progress.step % _LOG_EVERY == 0 and window:
                    records.check_finite(window, parameters)
                    line = window.close()
                    journal.write("step", step=progress.step, epoch=epoch + 1, **line)
                    log(line, progress.step)
                stopped, due = agreement.any(signals.received is not None, checkpoints.due(progress.step))
                if (stopped or due) and progress.step % steps_per_epoch and progress.step < steps:
                    records.check_finite(window, parameters)
                    checkpoints.save(state.snapshot(progress, journal.bytes))
                    if stopped:
                        raise records.interrupted(signals.received, progress.step, steps)
            records.check_finite(window, parameters)
            with window.paused():
                line: dict[str, Any] = {"train": progress.close_epoch(accelerator), "validation": None}
                if validation is not None:
                    with kept.shown() as shown:
                        line["validation"] = validation.accuracy(predict_fn(shown, accelerator.device, plan.mode))
                    if kept.is_best(line["validation"]["top1"]):
                        checkpoints.save_best(Checkpoint(kept.weights(), line["validation"] | {"step": progress.step}))
                journal.write("epoch", step=progress.step, epoch=epoch + 1, seconds=progress.seconds, **line)
                log(line, progress.step)
                checkpoints.save(state.snapshot(progress, journal.bytes))
                records.show()
            if stopped and progress.step < steps:
                raise records.interrupted(signals.received, progress.step, steps)
        journal.write(
            "end",
            training_seconds=progress.seconds,
            images=progress.images,
            peak_bytes=peak_bytes(accelerator.device),
            unreadable=batches.unreadable | (validation.unreadable if validation else {}),
        )
        best = checkpoints.best() if validation else None
        records.keep(best.tensors if best else kept.weights())
