"""RunWriter: writes the files of a training into its run's folder, on the main process only."""

import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import Tensor, nn

from mixlab.errors import Interrupted, UserError
from mixlab.evaluation.novelty import NoveltyDetector
from mixlab.evaluation.training_images import TrainingImages, training_images_of, union
from mixlab.files import create_parents, write_json, write_text
from mixlab.measure import machine
from mixlab.report.progress import Log
from mixlab.runs.checkpoints import Checkpoints
from mixlab.runs.folder import Run, start_run
from mixlab.runs.history import selecting_score
from mixlab.runs.journal import Journal
from mixlab.runs.lease import Lease, lease
from mixlab.speed.plan import Plan
from mixlab.tasks.classification import CLASSIFICATION
from mixlab.training.job import Job
from mixlab.training.resume_check import check_same_recipe, check_same_training
from mixlab.training.run_page import run_page
from mixlab.training.state import Progress, TrainingState
from mixlab.training.step_metrics import StepMetrics
from mixlab.weights.storage.write import write_config, write_tensors

_LARGEST = 10  # gradients that postmortem.json lists
_PAGE_INTERVAL = 50
"""Minimum time between two versions of the page, relative to the time to write one: pages take at most 2 % of the time.
"""


class RunWriter:
    """Writes the run of `job`. On other processes than the main process nothing is written.

    Use `open` for the whole training, `resume` before the first step, and `finish` or `on_failure` at the end.
    """

    def __init__(self, run: Run, job: Job):
        self.run, self._job = run, job
        self._writes = PartialState().is_main_process
        self._lease: Lease | None = None
        self._initial_images = TrainingImages()
        self._is_new = self._has_started = False
        self._next_page = 0.0

    @contextmanager
    def open(self, plan: Plan, on_wait: Log | None) -> Iterator[Plan | None]:
        """Hold the lease on the folder, and create the run or check that it is the same training.

        Main process only. Yields the plan to use: `plan` for a new run, the run's plan if it is resumed, None if
        another process has finished the run. `on_wait` is that of `lease`. Raises UserError if the folder holds another
        training.
        """
        job, run = self._job, self.run
        with create_parents(run.path), lease(run.path, on_wait) as self._lease:
            if run.is_finished:
                check_same_training(run, job)
                yield None
                return
            self._initial_images = union(map(training_images_of, job.initial_models))
            if run.is_unfinished:
                check_same_training(run, job)
                plan = Plan.from_dict(run.plan)
                run.set_state("running")
            else:
                assignment = job.dataset.assignment if job.dataset.split_by_mixlab else None
                environment = machine.describe(job.device)
                summary = job.dataset.summary
                start_run(
                    run.path, job.stored_recipe(), plan.to_dict(), environment, summary, assignment, job.user_code()
                )
                self._is_new = True
            for unfinished in run.path.glob(".*.part"):  # left by a killed process
                unfinished.unlink(missing_ok=True)
            yield plan

    def checkpoints(self) -> Checkpoints:
        """The checkpoints of the run, with the settings of the recipe."""
        settings = self._job.recipe.checkpoints
        return Checkpoints(
            self.run.checkpoints,
            keep=settings.keep,
            every_steps=settings.every_steps,
            every_seconds=settings.every_seconds,
            writes=self._writes,
        )

    def journal(self) -> Journal:
        """The journal of the run; on other processes than the main process nothing is written."""
        return Journal(self.run.journal if self._writes else Path(os.devnull))

    def resume(self, state: TrainingState, checkpoints: Checkpoints, journal: Journal) -> Progress:
        """Load the last checkpoint into `state`, and truncate the journal to its length. Without one, start at step 0.

        Raises UserError if the checkpoint is of another recipe.
        """
        checkpoint, best = checkpoints.last(), checkpoints.best()
        if checkpoint is not None:
            check_same_recipe(self.run, checkpoint.metadata["recipe"], self._job)
        self._has_started = True
        if checkpoint is None:
            journal.truncate(0)
            return Progress()
        progress = state.restore(checkpoint, selecting_score(best.metadata) if best else None)
        journal.truncate(checkpoint.metadata["journal"])
        journal.write("resumed", step=progress.step, processes=PartialState().num_processes)
        return progress

    def require_lease(self) -> None:
        """Raises UserError if another process has taken over the folder. Call it before a checkpoint is written."""
        if self._lease is not None:
            self._lease.require()

    def check_finite(self, metrics: StepMetrics, parameters: Mapping[str, nn.Parameter]) -> None:
        """Write postmortem.json and raise UserError if a loss is not finite. Collective: call it on every rank."""
        non_finite = metrics.first_non_finite()
        if non_finite is None:
            return
        step, loss, result = non_finite
        norms = result.gradient_norms.nan_to_num(nan=math.inf).cpu()
        order = norms.argsort(descending=True, stable=True)[:_LARGEST].tolist()
        names, dataset = list(parameters), self._job.dataset
        if self._writes:
            write_json(
                self.run.postmortem,
                {
                    "step": step,
                    "loss": str(loss),
                    "learning_rate": result.learning_rate,
                    "images": [dataset.splits["train"].names[index] for index in result.batch.indices],
                    "largest_gradients": {names[index]: str(result.gradient_norms[index].item()) for index in order},
                },
            )
        raise UserError(
            f"The loss is {loss} at step {step}: the training diverged. Lower optimizer.learning_rate, lengthen "
            'schedule.warmup, set optimizer.clip_norm=1, or skip such steps with non_finite="skip"; the '
            f"{dataset.noun}s and the largest gradients of the step are in {self.run.postmortem}."
        )

    def interrupted(self, signal: str | None, step: int, steps: int) -> Interrupted:
        return Interrupted(
            signal,
            f" after step {step:,} of {steps:,}. A checkpoint was written: continue with mixlab train --resume "
            f"{self.run.path}",
        )

    def update_page(self) -> None:
        """Write report.html, unless it was written a short time ago."""
        if self._writes and time.perf_counter() >= self._next_page:
            started = time.perf_counter()
            self._write_page()
            self._next_page = time.perf_counter() + _PAGE_INTERVAL * (time.perf_counter() - started)

    def with_initial_images(self, images: TrainingImages) -> TrainingImages:
        """The images of this training together with those of the initial weights; the latter on the main process."""
        return images | self._initial_images

    def finish(
        self,
        weights: Mapping[str, Tensor],
        images: TrainingImages,
        novelty: NoveltyDetector | None,
        fitted: Mapping[str, Any],
    ) -> None:
        """Write the weights, config, training images, novelty detector and report, and mark the run as done.

        `fitted` is what the task has fitted to the validation images.
        """
        if not self._writes:
            return
        job = self._job
        write_tensors(self.run.weights, weights)
        images.write(self.run.training_images)
        if novelty is not None:
            novelty.write(self.run.novelty)
        task = {} if job.task is CLASSIFICATION else {"task": job.task.name, "fitted": fitted}
        write_config(self.run.path, job.architecture, job.dataset.classes, job.preprocess, self.stored_model, task)
        self._write_page()
        self.run.set_state("done")

    @property
    def stored_model(self) -> str:
        """The name of the model in the stored recipe."""
        return self._job.stored_recipe()["model"]

    def on_failure(self, error: BaseException) -> None:
        """Mark the run as stopped. After a UserError, remove a new folder without a checkpoint or postmortem."""
        if not self._writes or not self.run.is_unfinished:
            return
        has_results = self.run.postmortem.exists() or any(self.run.checkpoints.glob("*.safetensors"))
        if isinstance(error, UserError) and self._is_new and not has_results:
            shutil.rmtree(self.run.path, ignore_errors=True)
        else:
            with suppress(UserError):  # the disk may be full
                self.run.set_state("stopped")
                if self._has_started:
                    self._write_page()

    def _write_page(self) -> None:
        write_text(self.run.report, run_page(self.run).html())
