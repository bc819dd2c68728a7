"""Evaluates one model on the splits of a dataset; an interrupted evaluation goes on where it stopped."""

import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mixlab.data.dataset import Dataset
from mixlab.data.preprocess import Preprocess
from mixlab.evaluation.evaluate import Evaluated, Receive, evaluate
from mixlab.evaluation.logits_file import Rows
from mixlab.evaluation.parts import PartStore, images_per_part
from mixlab.files import cache_folder
from mixlab.runs.store import store_key


class Scorer:
    """Evaluates the splits of `dataset` in fp32.

    Splits of more than about 10,000 images are evaluated in parts, which are stored until `remove_parts`. A part is
    used again if the key, the preprocessing, the images and the kind of device are the same.

    model           in fp32
    preprocess      of the images
    classes         class names, in the order of the logits
    key             everything else that determines the logits, as JSON-serializable values
    workers         processes that read images
    max_unreadable  how many unreadable images of a split are skipped
    with_logits     store the logits of every split, for `rows`
    title           what the progress bar shows
    """

    def __init__(
        self,
        model: nn.Module,
        preprocess: Preprocess,
        classes: tuple[str, ...],
        dataset: Dataset,
        device: torch.device,
        *,
        key: dict[str, Any],
        workers: int,
        max_unreadable: int,
        with_logits: bool,
        title: str,
        quiet: bool,
    ):
        self._model, self._preprocess, self._classes = model, preprocess, classes
        self._dataset, self._device, self._key = dataset, device, key
        self._workers, self._max_unreadable = workers, max_unreadable
        self._with_logits, self._title, self._quiet = with_logits, title, quiet
        self._stores: dict[str, PartStore] = {}

    def __call__(self, name: str, *, temperature: float | None = None, receive: Receive | None = None) -> Evaluated:
        """Evaluate the split `name`; the arguments and errors are those of `mixlab.evaluation.evaluate.evaluate`."""
        split = self._dataset.splits[name]
        if self._with_logits or (len(split) > images_per_part(len(self._classes)) and receive is None):
            folder = self._folder / f"{name} {temperature} {self._with_logits}"
            self._stores[name] = PartStore(folder, self._classes, with_logits=self._with_logits)
        return evaluate(
            self._model,
            split,
            self._preprocess,
            self._classes,
            self._device,
            workers=self._workers,
            max_unreadable=self._max_unreadable,
            temperature=temperature,
            receive=receive,
            store=self._stores.get(name),
            title=self._title,
            quiet=self._quiet,
        )

    def rows(self) -> Iterator[Rows]:
        """The stored logits of all splits that were evaluated."""
        for name, store in self._stores.items():
            split = self._dataset.splits[name]
            for part in store.parts():
                names = [split.names[index] for index in part.readable]
                assert part.scores.logits is not None
                yield name, names, part.scores.evaluation.labels, part.scores.logits

    def remove_parts(self) -> None:
        """Remove what was stored to go on after an interruption."""
        if self._stores:
            shutil.rmtree(self._folder, ignore_errors=True)

    @cached_property
    def _folder(self) -> Path:
        key = self._key | {
            "classes": self._classes,
            "preprocess": self._preprocess.to_dict(),
            "data": self._dataset.listing_digest,
            "device": self._device.type,
            "torch": torch.__version__,
        }
        return cache_folder() / "evaluations" / store_key(key)
