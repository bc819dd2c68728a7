"""The interval of a metric of all test samples together, over seeds and samples."""

from collections.abc import Sequence

import numpy as np

from mixlab.comparison.tasks.compared_task import SetMetric
from mixlab.comparison.trainings import Trained
from mixlab.stats.bootstrap import interval_over_seeds, resample_counts
from mixlab.stats.estimate import Estimate

RESAMPLES = 1000


def set_metric_interval(metric: SetMetric | None, trained: Sequence[Trained]) -> Estimate | None:
    """The mean of the metric over the trainings of a model, with its 95 % interval; None without a metric."""
    if metric is None:
        return None
    samples = len(trained[0].scores)
    times = resample_counts(samples, RESAMPLES)
    once = np.ones((1, samples), dtype=times.dtype)
    values = [float(metric.of(training.evaluation, once)[0]) for training in trained]
    resampled = np.mean([metric.of(training.evaluation, times) for training in trained], axis=0)
    return interval_over_seeds(values, resampled, samples, "%", least=0, most=100)
