"""The loop: every step of a training is on this page."""

import copy
import math
import shutil
import time
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mixlab.data.batches import JudgingBatches
from mixlab.data.draws import step_seed
from mixlab.errors import UserError
from mixlab.evaluation.evaluate import answers_of, evaluate
from mixlab.files import parents, whole_file, write_json
from mixlab.measure import machine
from mixlab.measure.memory import peak_bytes
from mixlab.report.progress import progress
from mixlab.runs.folder import Run, start_run
from mixlab.runs.journal import Journal
from mixlab.speed.plan import Plan, placed
from mixlab.training.optimizer import build_optimizer
from mixlab.training.prepare import Job
from mixlab.training.schedule import share_of_peak
from mixlab.training.sections import Ema
from mixlab.training.step import add_gradients

_STEPS_A_LINE = 20
"""The loss stays on the device and is read this often, since reading it waits for the device."""


def train(job: Job, plan: Plan, folder: Path, *, quiet: bool) -> Run:
    """Train, and leave a finished run in `folder`.

    A user's mistake that shows only now (a broken picture, a rate that diverges, a full disk) removes the folder.
    """
    split = job.dataset.split if job.dataset.cut_here else None
    with parents(folder):
        run = start_run(folder, job.recipe.to_dict(), plan.to_dict(), machine.describe(job.device), split)
        try:
            with Journal(run.journal) as journal:
                model = _fit(job, plan, journal, quiet=quiet)
            _save(job, model, run)
            run.mark("done")
        except UserError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except BaseException:
            run.mark("stopped")
            raise
    return run


def _fit(job: Job, plan: Plan, journal: Journal, *, quiet: bool) -> nn.Module:
    """Take the steps. Returns the model with the weights to keep."""
    recipe, settings = job.recipe, job.recipe.optimizer
    batches, validation_batches = job.training_batches(quiet=quiet), job.validation_batches(quiet=quiet)
    torch.manual_seed(recipe.seed)
    accelerator = _accelerator(plan)
    built = placed(job.build(), accelerator.device, plan.mode)
    kept = _Kept(built, recipe.ema)
    model, optimizer = accelerator.prepare(built, build_optimizer(settings, built))
    steps = job.steps(len(batches))
    step, epoch, seconds, pictures = 0, 0, 0.0, 0
    with progress(f"train {recipe.model}", total=steps, quiet=quiet) as advance:
        while step < steps:
            model.train()
            tally = _Tally()
            for batch in islice(batches.epoch(epoch), steps - step):
                torch.manual_seed(step_seed(recipe.seed, step, accelerator.process_index))
                rate = settings.learning_rate * share_of_peak(recipe.schedule, step, steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                images, labels = batch.on(accelerator.device)
                loss, right = add_gradients(
                    model,
                    images.contiguous(memory_format=plan.mode.memory_format),
                    labels,
                    loss=recipe.loss,
                    micro_batch=plan.micro_batch,
                    backward=accelerator.backward,
                )
                if settings.clip_norm is not None:
                    accelerator.clip_grad_norm_(model.parameters(), settings.clip_norm)
                optimizer.step()
                optimizer.zero_grad()
                kept.follow(built)
                tally.add(loss, right, len(labels))
                step += 1
                advance(1, f"epoch {epoch + 1}")
                if step % _STEPS_A_LINE == 0:
                    journal.write("step", step=step, epoch=epoch + 1, loss=_finite(loss, step), learning_rate=rate)
            learned = tally.close(step)
            seconds, pictures, epoch = seconds + tally.seconds, pictures + tally.pictures, epoch + 1
            judged = _judge(kept, validation_batches, job, plan) if validation_batches else None
            journal.write("epoch", step=step, epoch=epoch, seconds=seconds, train=learned, validation=judged)
    journal.write(
        "end",
        training_seconds=seconds,
        pictures=pictures,
        peak_bytes=peak_bytes(accelerator.device),
        unreadable=batches.unreadable | (validation_batches.unreadable if validation_batches else {}),
    )
    return kept.chosen()


def _accelerator(plan: Plan) -> Accelerator:
    AcceleratorState._reset_state(reset_partial_state=True)  # what an earlier training of this process has left
    precision = "no" if plan.mode.precision == "fp32" else plan.mode.precision
    return Accelerator(mixed_precision=precision, cpu=plan.device == "cpu")


def _finite(loss: Tensor, step: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise UserError(
            f"The loss became {value} before step {step}: the training diverged. Lower optimizer.learning_rate, "
            "lengthen schedule.warmup, or set optimizer.clip_norm=1."
        )
    return value


def _judge(kept: "_Kept", batches: JudgingBatches, job: Job, plan: Plan) -> dict[str, float]:
    """The accuracy of the weights that would be kept now, in the plan's precision."""
    top1 = evaluate(answers_of(kept.model, job.device, plan.mode), batches, job.dataset.classes).top1
    kept.offer(top1.value)
    return {"top1": top1.value, "pictures": top1.n}


class _Kept:
    """The weights to keep: the model's own or their moving average; the best that validation saw, else the last."""

    def __init__(self, model: nn.Module, ema: Ema | None):
        self._average = _moving_average(model, ema) if ema else None
        self.model = self._average.module if self._average else model
        self._best_score = -math.inf
        self._best: dict[str, Tensor] | None = None

    def follow(self, model: nn.Module) -> None:
        if self._average is not None:
            self._average.update_parameters(model)

    def offer(self, score: float) -> None:
        """Of equal scores the later one is kept, which has learned for longer."""
        if score >= self._best_score:
            self._best_score, self._best = score, copy.deepcopy(self.model.state_dict())

    def chosen(self) -> nn.Module:
        if self._best is not None:
            self.model.load_state_dict(self._best)
        return self.model


def _moving_average(model: nn.Module, ema: Ema) -> AveragedModel:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema.decay), use_buffers=True)


class _Tally:
    """An epoch's mean loss, accuracy on the augmented pictures, and seconds. Nothing is read before it is closed."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._losses: list[Tensor] = []
        self._right: list[Tensor] = []
        self.pictures = 0
        self.seconds = 0.0

    def add(self, loss: Tensor, right: Tensor, pictures: int) -> None:
        self._losses.append(loss * pictures)
        self._right.append(right)
        self.pictures += pictures

    def close(self, step: int) -> dict[str, float]:
        loss = _finite(torch.stack(self._losses).sum() / self.pictures, step)
        top1 = 100 * torch.stack(self._right).sum().item() / self.pictures
        self.seconds = time.perf_counter() - self._started
        return {"loss": loss, "top1": top1}


def _save(job: Job, model: nn.Module, run: Run) -> None:
    weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    with whole_file(run.weights) as part:
        part.write_bytes(save(weights))  # safetensors' own writing hides that a disk is full
    write_json(run.path / "config.json", job.card())
