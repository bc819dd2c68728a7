"""Accuracy on the validation images while training; each process judges its share of them."""

import numpy as np
import torch
from accelerate import Accelerator

from mixlab.data.batches import JudgingBatches
from mixlab.evaluation.evaluate import Predict
from mixlab.training.job import Job


class Validation:
    """All processes have equally many images, which calls of a sharded model need; what fills up is not counted."""

    def __init__(self, job: Job, accelerator: Accelerator, *, quiet: bool):
        part, recipe, processes = job.dataset.parts["validation"], job.recipe, accelerator.num_processes
        mine = np.arange(accelerator.process_index, len(part), processes)
        filled = np.resize(np.concatenate([mine, [0]]), -(-len(part) // processes))
        self._accelerator, self._counted = accelerator, len(mine)
        self._batches = JudgingBatches(
            part.subset(filled),
            job.preprocess,
            batch=job.batch,
            workers=recipe.workers,
            max_unreadable=recipe.max_unreadable,
            quiet=quiet,
        )
        self.unreadable = self._batches.unreadable

    def accuracy(self, predict: Predict) -> dict[str, float]:
        """Per cent, of so many images; every process has to ask."""
        right = [predict(batch).argmax(dim=1).cpu() == batch.labels for batch in self._batches]
        counted = torch.from_numpy(self._batches.readable < self._counted)
        here = torch.stack([torch.cat(right)[counted].sum(), counted.sum()]).to(self._accelerator.device)
        hits, images = self._accelerator.reduce(here, "sum").tolist()  # pyright: ignore[reportAttributeAccessIssue]
        return {"top1": 100 * hits / images, "images": images}
