"""One line per epoch on standard error where it is not a terminal, such as in the log file of a batch job."""

import time
from collections.abc import Mapping
from typing import Any

from mixlab.report.numbers import duration
from mixlab.report.progress import log_without_bar
from mixlab.runs.history import metric_title, selecting_metric, selecting_score
from mixlab.training.state import Progress


class EpochLines:
    """Prints the lines of one training.

    progress         of the training, before its first step or as it was resumed
    steps            of the whole training
    steps_per_epoch  the last epoch may be shorter
    noun             what a sample is: "image", "sound" or "text"
    """

    def __init__(self, progress: Progress, steps: int, steps_per_epoch: int, noun: str, *, quiet: bool):
        self._progress, self._steps, self._noun, self._quiet = progress, steps, noun, quiet
        self._epochs = -(-steps // steps_per_epoch)
        self._first_step, self._started = progress.step, time.perf_counter()
        self._images, self._seconds = progress.images, progress.seconds

    def log(self, epoch: int, results: Mapping[str, Any]) -> None:
        """Print the line of an epoch, which is counted from 1; `results` is its line in the journal."""
        progress = self._progress
        parts = [f"loss {results['train']['loss']:.3f}"]
        if (evaluated := results["validation"]) is not None:
            parts.append(f"validation {metric_title(selecting_metric(evaluated))} {selecting_score(evaluated):.1f} %")
        parts.append(f"{(progress.images - self._images) / (progress.seconds - self._seconds):,.0f} {self._noun}s/s")
        self._images, self._seconds = progress.images, progress.seconds
        if left := self._steps - progress.step:
            per_step = (time.perf_counter() - self._started) / (progress.step - self._first_step)
            parts.append(f"about {duration(left * per_step)} left")
        log_without_bar(f"epoch {epoch} of {self._epochs}: {', '.join(parts)}", quiet=self._quiet)
