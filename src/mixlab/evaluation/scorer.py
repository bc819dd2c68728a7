"""Evaluates one model on the splits of a dataset; an interrupted evaluation goes on where it stopped."""

import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch

from mixlab.data.dataset import Dataset
from mixlab.evaluation.evaluate import Evaluated, Receive, evaluate
from mixlab.evaluation.logits_file import Rows
from mixlab.evaluation.parts import PartStore, images_per_part
from mixlab.files import cache_folder
from mixlab.runs.store import store_key
from mixlab.weights.load import Pretrained, build_with_weights


class Scorer:
    """Evaluates the splits of `dataset` in fp32.

    Splits of more than about 10,000 images are evaluated in parts, which are stored until `remove_parts`. A part is
    used again if the weights, the preprocessing, the images and the kind of device are the same.

    workers         processes that read images
    max_unreadable  how many unreadable images of a split are skipped
    with_logits     store the logits of every split, for `rows`
    title           what the progress bar shows
    """

    def __init__(
        self,
        opened: Pretrained,
        dataset: Dataset,
        device: torch.device,
        *,
        workers: int = 0,
        max_unreadable: int = 0,
        with_logits: bool,
        title: str,
        quiet: bool,
    ):
        self._opened, self._dataset, self._device = opened, dataset, device
        self._workers, self._max_unreadable = workers, max_unreadable
        self._with_logits, self._title, self._quiet = with_logits, title, quiet
        self._model = build_with_weights(opened.weights)
        self._stores: dict[str, PartStore] = {}

    def __call__(self, name: str, *, temperature: float | None = None, receive: Receive | None = None) -> Evaluated:
        """Evaluate the split `name`; the arguments and errors are those of `mixlab.evaluation.evaluate.evaluate`."""
        split, classes = self._dataset.splits[name], self._opened.classes
        if self._with_logits or (len(split) > images_per_part(len(classes)) and receive is None):
            folder = self._folder / f"{name} {temperature} {self._with_logits}"
            self._stores[name] = PartStore(folder, classes, with_logits=self._with_logits)
        return evaluate(
            self._model,
            split,
            self._opened.preprocess,
            classes,
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
        key = {
            "weights": self._opened.weights.digest,
            "config": dict(self._opened.weights.config),
            "code": self._opened.weights.architecture.code_digest,
            "preprocess": self._opened.preprocess.to_dict(),
            "data": self._dataset.listing_digest,
            "device": self._device.type,
            "torch": torch.__version__,
        }
        return cache_folder() / "evaluations" / store_key(key)
