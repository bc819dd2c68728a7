"""Evaluates one model on the splits of a dataset; an interrupted evaluation goes on where it stopped."""

import shutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mixlab.data.dataset import Dataset
from mixlab.evaluation.evaluate import Evaluated, Receive, evaluate
from mixlab.evaluation.logits_file import Rows
from mixlab.evaluation.parts import PartStore, images_per_part
from mixlab.evaluation.prepare import PreparedEvaluation
from mixlab.files import cache_folder
from mixlab.runs.store import store_key
from mixlab.speed.inference import Inference


class Scorer:
    """Evaluates the splits of `dataset`.

    Splits of more than about 10,000 images are evaluated in parts, which are stored until `remove_parts`. A part is
    used again if the model, the preprocessing, the images and their change, the kind of device
    and `inference.speed` are the same.

    dataset      that of `prepared`, or one with changed images
    inference    that of `prepared`
    with_logits  store the logits of every split, for `rows`
    change       how the images of `dataset` were changed, as JSON-serializable values; None: not at all
    """

    def __init__(
        self,
        prepared: PreparedEvaluation,
        dataset: Dataset,
        inference: Inference,
        *,
        with_logits: bool,
        change: Mapping[str, Any] | None = None,
    ):
        self._change = change
        self._prepared, self._dataset, self._with_logits = prepared, dataset, with_logits
        self._inference = inference
        self._classes = prepared.dataset.classes
        self._stores: dict[str, PartStore] = {}

    def __call__(self, name: str, *, temperature: float | None = None, receive: Receive | None = None) -> Evaluated:
        """Evaluate the split `name`; the arguments and errors are those of `mixlab.evaluation.evaluate.evaluate`."""
        split = self._dataset.splits[name]
        if self._with_logits or (len(split) > images_per_part(len(self._classes)) and receive is None):
            folder = self._folder / f"{name} {temperature} {self._with_logits}"
            self._stores[name] = PartStore(folder, self._classes, with_logits=self._with_logits)
        prepared = self._prepared
        return evaluate(
            self._inference,
            split,
            prepared.preprocess,
            self._classes,
            workers=prepared.run.recipe["workers"] if prepared.run else 0,
            max_unreadable=prepared.run.recipe["max_unreadable"] if prepared.run else 0,
            temperature=temperature,
            receive=receive,
            store=self._stores.get(name),
            title=f"evaluate {prepared.source}",
            quiet=prepared.quiet,
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
        key = self._prepared.key | {
            "classes": self._classes,
            "preprocess": self._prepared.preprocess.to_dict(),
            "data": self._dataset.listing_digest,
            "change": self._change,
            "device": self._prepared.device.type,
            "speed": self._inference.speed,
            "torch": torch.__version__,
        }
        return cache_folder() / "evaluations" / store_key(key)
