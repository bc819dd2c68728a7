"""`ComparedTask`: what a comparison of trained models needs of a task besides the functions of `Task`.

Axes:  image     test samples: images or texts
       resample  bootstrap resamples of them
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Real

from mixlab.comparison.trainings import Answers
from mixlab.data.dataset import Dataset
from mixlab.report.page import Section
from mixlab.stats.estimate import Estimate
from mixlab.tasks.task import Task

if TYPE_CHECKING:
    from mixlab.comparison.comparison import Comparison


@dataclass(frozen=True)
class SetMetric:
    """A metric of all test samples together, which is no mean over samples.

    key, title  in JSON, and in tables
    of          (answers of a training, how often each sample is in each resample) -> per cent, for each resample
    """

    key: str
    title: str
    of: Callable[[Any, Real[np.ndarray, "resample image"]], Float[np.ndarray, " resample"]]


@dataclass(frozen=True, kw_only=True)
class ComparedTask:
    """A task for `mixlab compare`.

    models           compared by default
    baselines        data with train, validation and test -> the mean score in per cent of methods without a network
    baseline_advice  what to do if a baseline is about as good as the chosen model, or better
    answers          of a finished run for the test samples, and their scores
    metric           shown beside the mean score; None if the task has no other
    settings_note    how the settings of the recipes were chosen; "" for the recipes of images
    errors           the section of the report about the errors of the chosen model
    """

    task: Task
    models: tuple[str, ...]
    baselines: Callable[[Dataset], dict[str, Estimate]]
    baseline_advice: str
    answers: Answers
    metric: SetMetric | None
    settings_note: str
    errors: Callable[["Comparison"], Section]
