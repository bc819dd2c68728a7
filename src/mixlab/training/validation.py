"""Validation accuracy during training; each process evaluates its share of the images."""

import numpy as np
import torch
from accelerate import Accelerator

from mixlab.data.batches import EvalBatches
from mixlab.evaluation.evaluate import Predict
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
        self._accelerator, self._counted = accelerator, len(own)
        self._batches = EvalBatches(
            split.subset(padded),
            job.preprocess,
            batch=job.batch,
            workers=recipe.workers,
            max_unreadable=recipe.max_unreadable,
            quiet=quiet,
        )
        self.unreadable = self._batches.unreadable

    def accuracy(self, predict: Predict) -> dict[str, float]:
        """{"top1": per cent, "images": number of images}. Collective: call it on every rank."""
        correct = [predict(batch).argmax(dim=1).cpu() == batch.labels for batch in self._batches]
        counted = torch.from_numpy(self._batches.readable < self._counted)
        local = torch.stack([torch.cat(correct)[counted].sum(), counted.sum()]).to(self._accelerator.device)
        total = self._accelerator.reduce(local, "sum")
        n_correct, images = total.tolist()  # pyright: ignore[reportAttributeAccessIssue]
        return {"top1": 100 * n_correct / images, "images": images}
