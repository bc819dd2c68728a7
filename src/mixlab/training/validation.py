"""Accuracy on the validation images while training; each process judges its share of them."""

import numpy as np
import torch
from accelerate import Accelerator

from mixlab.data.batches import EvalBatches
from mixlab.evaluation.evaluate import Predict
from mixlab.training.job import Job


class Validation:
    """All processes have equally many images, which calls of a sharded model need; what fills up is not counted."""

    def __init__(self, job: Job, accelerator: Accelerator, *, quiet: bool):
        split, recipe, processes = job.dataset.splits["validation"], job.recipe, accelerator.num_processes
        mine = np.arange(accelerator.process_index, len(split), processes)
        filled = np.resize(np.concatenate([mine, [0]]), -(-len(split) // processes))
        self._accelerator, self._counted = accelerator, len(mine)
        self._batches = EvalBatches(
            split.subset(filled),
            job.preprocess,
            batch=job.batch,
            workers=recipe.workers,
            max_unreadable=recipe.max_unreadable,
            quiet=quiet,
        )
        self.unreadable = self._batches.unreadable

    def accuracy(self, predict: Predict) -> dict[str, float]:
        """Per cent, of so many images; every process has to ask."""
        correct = [predict(batch).argmax(dim=1).cpu() == batch.labels for batch in self._batches]
        counted = torch.from_numpy(self._batches.readable < self._counted)
        here = torch.stack([torch.cat(correct)[counted].sum(), counted.sum()]).to(self._accelerator.device)
        n_correct, images = self._accelerator.reduce(here, "sum").tolist()  # pyright: ignore[reportAttributeAccessIssue]
        return {"top1": 100 * n_correct / images, "images": images}
