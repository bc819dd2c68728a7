"""Probes: how well classifiers on the frozen features of a model classify the test images of a dataset.

Axes:  seed   one draw of the training images; a single one for methods without random numbers
       image  a readable test image
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from mixlab.data.dataset import Dataset
from mixlab.data.decoding import with_common_decoding
from mixlab.data.value_range import range_notes
from mixlab.errors import UserError, did_you_mean
from mixlab.evaluation.probes.classifier import FittedProbe, Probe
from mixlab.evaluation.probes.features import Features, features, open_backbone
from mixlab.evaluation.probes.few_shot import FewShot
from mixlab.evaluation.probes.knn import KNN
from mixlab.evaluation.probes.logistic import Logistic
from mixlab.evaluation.probes.ridge import Ridge
from mixlab.evaluation.training_images import record_training_images, training_images_of, union
from mixlab.evaluation.unseen_images import leave_out
from mixlab.measure.machine import pick_device
from mixlab.models.contract import ImageSize
from mixlab.report.numbers import number
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.speed.inference_plan import Speed
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval
from mixlab.stats.paired import crossed_interval

_COUNTED = {"fewshot": FewShot, "knn": KNN}
_FIXED = {"ridge": Ridge, "logistic": Logistic}
_EXAMPLES = {"fewshot": "fewshot:5", "knn": "knn:20"}


def parse_probe(text: str) -> Probe:
    """The method "fewshot:K", "knn:K", "ridge" or "logistic". Raises UserError for any other text."""
    kind, colon, count = text.partition(":")
    if kind in _FIXED:
        if colon:
            raise UserError(f'probe "{text}" has a number, but {kind} takes none: write "{kind}".')
        return _FIXED[kind]()
    if kind in _COUNTED:
        if not re.fullmatch("[1-9][0-9]*", count):
            raise UserError(
                f'probe "{text}" is invalid: {kind} must be followed by a whole number of at least 1, such as '
                f'"{_EXAMPLES[kind]}".'
            )
        return _COUNTED[kind](int(count))
    hint = did_you_mean(kind, [*_COUNTED, *_FIXED])
    raise UserError(f'probe "{text}" is unknown: it must be fewshot:K, knn:K, ridge or logistic. {hint}'.rstrip())


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeResult:
    """The answers of a probe for the test images.

    source       the weights
    data         name of the dataset
    method       the probe
    noun         what a sample is, for sentences
    classes      class names
    names        of the test images
    labels       their class indices
    predictions  class indices, one row for each seed of the method
    fitted       the classifiers, one for each seed
    notes        sentences for the user
    """

    source: str
    data: str
    method: Probe
    noun: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: Int64[np.ndarray, " image"]
    predictions: Int64[np.ndarray, "seed image"]
    fitted: tuple[FittedProbe, ...]
    notes: tuple[str, ...]

    @property
    def correct(self) -> Bool[np.ndarray, "seed image"]:
        return self.predictions == self.labels

    @property
    def top1_of_seeds(self) -> tuple[float, ...]:
        """Top-1 in per cent for each seed."""
        return tuple(100 * self.correct.mean(axis=1))

    @property
    def top1(self) -> Estimate:
        """Mean top-1 in per cent. The interval is over the test images and, if there are several, the seeds."""
        correct = self.correct
        if len(correct) == 1:
            return proportion_interval(int(correct.sum()), correct.shape[1])
        return crossed_interval(correct)

    @property
    def conclusion(self) -> str:
        """The result as a sentence."""
        top1 = self.top1
        draws, over = "", f"the test {self.noun}s"
        if top1.spread is not None:
            draws = f"mean of {len(self.predictions)} draws, SD {number(top1.spread, 1)}; "
            over = f"draws and test {self.noun}s"
        assert top1.low is not None and top1.high is not None  # both kinds of interval are always determined
        return (
            f"{self.method.description(self.noun)} classifies {number(top1.value, 1)} % of "
            f"{pluralize(len(self.labels), f'test {self.noun}')} correctly ({draws}95 % interval over {over}: "
            f"{number(top1.low, 1)} to {number(top1.high, 1)} %)."
        )

    def tables(self) -> list[Table]:
        fitted = self.fitted[0]
        row: dict[str, Cell] = {
            "probe": self.method.name,
            "images": fitted.images,
            "penalty": fitted.penalty,
            "top1": self.top1,
        }
        columns = [Column("probe", "probe"), Column("images", f"training {self.noun}s")]
        if fitted.penalty is not None:
            columns.append(Column("penalty", "penalty", note=f"selected on the validation {self.noun}s"))
        test = f"the test {self.noun}s"
        interval = test if len(self.fitted) == 1 else f"draws of the training {self.noun}s and {test}"
        columns.append(Column("top1", "top-1", "%", digits=1, note=f"the 95 % interval is over {interval}"))
        return [Table(f"Frozen features of {self.source} on {self.data}", columns, [row], self.notes)]

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "data": self.data,
            "probe": self.method.name,
            "classes": len(self.classes),
            "train_images": self.fitted[0].images,
            "test_images": len(self.labels),
            "top1": asdict(self.top1),
            "top1_of_seeds": dict(zip(map(str, self.method.seeds), self.top1_of_seeds, strict=True)),
            "penalty": self.fitted[0].penalty,
            "validation_top1": {f"{penalty:g}": top1 for penalty, top1 in self.fitted[0].tried.items()},
            "notes": list(self.notes),
        }


def probe(
    source: str | Path,
    dataset: Dataset,
    method: Probe,
    *,
    image_size: ImageSize | None = None,
    device: str | None = None,
    batch: int = 32,
    workers: int = 0,
    max_unreadable: int = 0,
    speed: Speed = "auto",
    quiet: bool = False,
) -> ProbeResult:
    """Fit a classifier to the frozen features of a model, and classify the test images.

    source          weights that `mixlab.load` accepts
    dataset         with train and test splits, and with validation if the method selects a setting
    method          from `parse_probe`
    image_size      input size in pixels; None: that of the weights
    device          where features are computed; None: the fastest one
    batch           images per forward pass
    workers         processes that read images
    max_unreadable  how many unreadable images of each split are skipped
    speed           of the features; "off": eager in fp32
    quiet           no progress bars

    Settings are selected on validation; then the classifier is fitted to train and validation. Test images that the
    weights or the classifier have learned from are left out. Features are cached on this machine.

    Raises UserError if the weights cannot be loaded, a split or an image that is needed is missing, or more images are
    unreadable.
    """
    _require_splits(dataset, method)
    backbone = open_backbone(source, image_size)
    backbone = replace(backbone, preprocess=with_common_decoding(backbone.preprocess, dataset.splits["train"]))
    learned = union([training_images_of(str(source)), record_training_images(dataset, quiet=quiet)])
    unseen = leave_out(dataset, ("test",), learned, f"{source} or of the probe", quiet=quiet)
    splits = {
        name: features(
            backbone,
            split,
            pick_device(device),
            batch=batch,
            workers=workers,
            max_unreadable=max_unreadable,
            speed=speed,
            quiet=quiet,
        )
        for name, split in unseen.dataset.splits.items()
    }
    train, validation, test = splits["train"], splits.get("validation"), splits["test"]
    fitted = tuple(method.fit(train, validation, dataset.classes, seed) for seed in method.seeds)
    return ProbeResult(
        source=str(source),
        data=dataset.name,
        method=method,
        noun=dataset.noun,
        classes=dataset.classes,
        names=tuple(name for name in unseen.dataset.splits["test"].names if name not in test.unreadable),
        labels=test.labels,
        predictions=np.stack([each.classifier.predict(test.values) for each in fitted]),
        fitted=fitted,
        notes=(
            _most_common(test.labels, dataset),
            *fitted[0].notes,
            *range_notes(backbone.preprocess),
            *unseen.notes,
            *_skipped(splits),
        ),
    )


def _require_splits(dataset: Dataset, method: Probe) -> None:
    needed = ("train", "validation", "test") if method.selects else ("train", "test")
    for name in needed:
        if name not in dataset.splits or not len(dataset.splits[name]):
            purpose = " to select a penalty" if name == "validation" else ""
            raise UserError(
                f"{method.name} needs {name} {dataset.noun}s{purpose}, but {dataset.name} has none: give a dataset "
                f"with a {name} split, or a folder without splits, which mixlab divides."
            )
    present = np.unique(dataset.splits["train"].labels)
    if len(present) == 1:
        raise UserError(
            f'{dataset.name} has training {dataset.noun}s of only one class, "{dataset.classes[present[0]]}": a '
            f"classifier needs at least two, so add {dataset.noun}s of another class."
        )


def _most_common(labels: Int64[np.ndarray, " image"], dataset: Dataset) -> str:
    counts = np.bincount(labels, minlength=len(dataset.classes))
    share = 100 * counts.max() / len(labels)
    most_common = dataset.classes[int(counts.argmax())]
    return f'The most common class, "{most_common}", has {share:.1f} % of the test {dataset.noun}s.'


def _skipped(splits: Mapping[str, Features]) -> list[str]:
    return [
        f"{image} was left out: {reason}." for split in splits.values() for image, reason in split.unreadable.items()
    ]
