"""Validation metrics during training; each process evaluates its share of the images."""

from itertools import chain
from typing import Any

import numpy as np
from accelerate import Accelerator

from mixlab.data.batches import EvalBatches
from mixlab.evaluation.evaluate import Predict
from mixlab.training.distributed import all_gather
from mixlab.training.job import Job


class Validation:
    """Evaluates models on the validation split.

    All processes evaluate the same number of images, because the calls of a sharded model are collective. Images that
    are repeated for this purpose are not counted.
    """

    def __init__(self, job: Job, accelerator: Accelerator, *, quiet: bool):
        split, recipe, processes = job.dataset.splits["validation"], job.recipe, accelerator.num_processes
        own = np.arange(accelerator.process_index, len(split), processes)
        padded = np.resize(np.concatenate([own, [0]]), -(-len(split) // processes))
        self._task, self._counted = job.task, len(own)
        self._batches = EvalBatches(
            split.subset(padded),
            job.preprocess,
            batch=job.batch,
            workers=recipe.workers,
            max_unreadable=recipe.max_unreadable,
            quiet=quiet,
        )
        self.unreadable = self._batches.unreadable

    def evaluate(self, predict: Predict) -> tuple[dict[str, float], dict[str, Any]]:
        """The metrics of the task with "images", the number of images, and what the task fits to these images.

        Collective: call it on every rank.
        """
        scores, images = [], 0
        for batch in self._batches:
            outputs, counted = predict(batch), int((batch.indices < self._counted).sum())
            if counted:
                scores.append(self._task.score(outputs[:counted], batch.labels[:counted]))
            images += counted
        of_all_ranks = all_gather((scores, images))
        scores = list(chain.from_iterable(of_rank for of_rank, _ in of_all_ranks))
        metrics = self._task.metrics(scores) | {"images": sum(of_rank for _, of_rank in of_all_ranks)}
        return metrics, self._task.fitted(scores)
