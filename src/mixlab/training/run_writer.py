"""What a training leaves in its run's folder, from the first line to the weights; only the first process writes."""

import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from accelerate import Accelerator
from safetensors.torch import save
from torch import Tensor, nn

from mixlab.errors import Interrupted, UserError
from mixlab.files import atomic_file, write_json, write_text
from mixlab.measure import machine
from mixlab.runs.checkpoints import Checkpoints
from mixlab.runs.folder import Run, start_run
from mixlab.runs.journal import Journal
from mixlab.speed.plan import Plan
from mixlab.training.job import Job
from mixlab.training.resume_check import check_same_recipe, check_same_training
from mixlab.training.run_page import run_page
from mixlab.training.state import Progress, TrainingState
from mixlab.training.step_metrics import StepMetrics

_LARGEST = 10  # gradients that a post-mortem names
_PAGE_SHARE = 50
"""A page is written at most this seldom, in times of what the last one took, so that it costs at most 2 %."""


class RunWriter:
    def __init__(self, run: Run, job: Job, plan: Plan, accelerator: Accelerator):
        self.run = run
        self._job, self._plan, self._accelerator = job, plan, accelerator
        self._writes = accelerator.is_main_process
        self._is_new = self._goes_on = False  # nothing of it was there before; nothing stood in its way
        self._next_page = 0.0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Lay out a new folder, or find this training begun in it; meanwhile no other process may train there."""
        job, run = self._job, self.run
        if run.is_unfinished:
            check_same_training(run, job)
        else:
            assignment = job.dataset.assignment if job.dataset.split_by_mixlab else None
            environment = machine.describe(job.device)
            start_run(
                run.path, job.recipe.to_dict(), self._plan.to_dict(), environment, job.dataset.summary, assignment
            )
            self._is_new = True
        with run.held():
            for temporary in run.path.glob(".*.part"):  # what a killed process was writing
                temporary.unlink(missing_ok=True)
            if not self._is_new:
                run.mark("running")
            yield

    def checkpoints(self) -> Checkpoints:
        settings = self._job.recipe.checkpoints
        return Checkpoints(
            self.run.checkpoints,
            keep=settings.keep,
            every_steps=settings.every_steps,
            every_seconds=settings.every_seconds,
            writes=self._writes,
        )

    def journal(self) -> Journal:
        return Journal(self.run.journal if self._writes else Path(os.devnull))

    def resume(self, state: TrainingState, checkpoints: Checkpoints, journal: Journal) -> Progress:
        """The training as the last checkpoint has it, else at its first step; what came after it is struck out."""
        checkpoint, best = checkpoints.last(), checkpoints.best()
        if checkpoint is not None:
            check_same_recipe(self.run, checkpoint.metadata["recipe"], self._job.recipe)
        self._goes_on = True
        if checkpoint is None:
            journal.cut(0)
            return Progress()
        progress = state.restore(checkpoint, best.metadata["top1"] if best else None)
        journal.cut(checkpoint.metadata["journal"])
        journal.write("resumed", step=progress.step, processes=self._accelerator.num_processes)
        return progress

    def check_finite(self, window: StepMetrics, parameters: Mapping[str, nn.Parameter]) -> None:
        """Where a loss became no number, leave postmortem.json and stop. Every process has to ask."""
        found = window.first_non_finite()
        if found is None:
            return
        step, loss, taken = found
        norms = taken.norms.nan_to_num(nan=math.inf).cpu()
        order = norms.argsort(descending=True, stable=True)[:_LARGEST].tolist()
        names, images = list(parameters), self._job.dataset.splits["train"].names
        if self._writes:
            write_json(
                self.run.postmortem,
                {
                    "step": step,
                    "loss": str(loss),
                    "learning_rate": taken.learning_rate,
                    "images": [images[index] for index in taken.batch.indices],
                    "largest_gradients": {names[place]: str(taken.norms[place].item()) for place in order},
                },
            )
        raise UserError(
            f"The loss became {loss} at step {step}: the training diverged. Lower optimizer.learning_rate, lengthen "
            'schedule.warmup, set optimizer.clip_norm=1, or leave such steps out with non_finite="skip"; the step\'s '
            f"images and largest gradients are in {self.run.postmortem}."
        )

    def interrupted(self, signal: str | None, step: int, steps: int) -> Interrupted:
        return Interrupted(
            f"Stopped by {signal or 'a signal to another process'} after step {step:,} of {steps:,}, and kept: go on "
            f"with mixlab train --resume {self.run.path}"
        )

    def show(self) -> None:
        """Write report.html anew, unless that was done within fifty times of what it takes."""
        if self._writes and time.perf_counter() >= self._next_page:
            started = time.perf_counter()
            self._write_page()
            self._next_page = time.perf_counter() + _PAGE_SHARE * (time.perf_counter() - started)

    def _write_page(self) -> None:
        write_text(self.run.report, run_page(self.run).html())

    def keep(self, weights: Mapping[str, Tensor]) -> None:
        """The weights that the run is about: with them it is done."""
        if not self._writes:
            return
        with atomic_file(self.run.weights) as temporary:
            # safetensors' own writing hides that a disk is full
            temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in weights.items()}))
        write_json(self.run.path / "config.json", self._job.card())
        self._write_page()
        self.run.mark("done")

    def on_failure(self, error: BaseException) -> None:
        """A new folder with nothing to go on from, nor to learn from, goes where the user has made the mistake."""
        if not self._writes:
            return
        worth_keeping = self.run.postmortem.exists() or any(self.run.checkpoints.glob("*.safetensors"))
        if isinstance(error, UserError) and self._is_new and not worth_keeping:
            shutil.rmtree(self.run.path, ignore_errors=True)
        else:
            with suppress(UserError):  # the disk may be full
                self.run.mark("stopped")
                if self._goes_on:
                    self._write_page()
