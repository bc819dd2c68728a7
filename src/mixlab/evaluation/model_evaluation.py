"""Evaluate any weights on images that they were not trained on.

evaluated = evaluate_model("runs/first", None, quiet=True)
evaluated = evaluate_model("mixer_b16.goog_in1k", "imagenet", quiet=False)
evaluated.evaluation.top1
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mixlab.data.dataset import Split
from mixlab.errors import UserError
from mixlab.evaluation.baselines import majority_accuracy
from mixlab.evaluation.calibration import TemperatureFit, reliability
from mixlab.evaluation.evaluate import Evaluated
from mixlab.evaluation.evaluation import Evaluation
from mixlab.evaluation.logits_file import LogitsHeader, require_pyarrow, write_logits
from mixlab.evaluation.metrics import Metric, balanced_accuracy, by_class, summary
from mixlab.evaluation.prepare import prepare_evaluation
from mixlab.evaluation.real_labels import imagenet_indices, read_real_labels, real_accuracy
from mixlab.evaluation.scorer import Scorer
from mixlab.evaluation.selective import DEFAULT_ACCURACY, TrustedAnswers, trusted_answers
from mixlab.evaluation.views import Views
from mixlab.measure import machine
from mixlab.report.numbers import number
from mixlab.report.progress import Log
from mixlab.report.text import pluralize
from mixlab.runs.folder import Run
from mixlab.speed.inference_plan import InferencePlan, Speed
from mixlab.stats.estimate import Estimate
from mixlab.weights.classifier import require_classification
from mixlab.zoo.cards import Expected, find_card

SCHEMA = 2
_IMBALANCED = 3  # times the images of the smallest class


@dataclass(frozen=True, eq=False)
class Calibrated:
    """What was fitted on validation images, and its effect on the evaluated images.

    validation   the predictions for the validation images
    temperature  the logits are divided by it
    evaluation   of the evaluated images, with the divided logits
    """

    validation: Evaluation
    temperature: float
    evaluation: Evaluation


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelEvaluation:
    """The predictions of a model for images that it was not trained on, with everything that the report shows.

    source       the weights, as for `mixlab.load`
    model        the name of the model
    data         the name of the data set
    noun         what a sample is, for sentences: "image" or "sound"
    evaluated    which images were evaluated, in words
    views        the crop and the test-time augmentation
    split        the evaluated images; None if only their logits are known
    names        of the evaluated images
    evaluation   their predictions
    calibrated   None without validation images
    real         the accuracy with the ReaL labels; None if they were not given
    left_out     the number of images that were left out because the model has learned from them
    near_copies  the number of remaining images that are near copies of training or validation images; None: unknown
    notes        about the images
    majority     accuracy in per cent of always predicting the most frequent class of the training images, or of the
                 evaluated images if the training images are not available
    wanted       the accuracy in per cent that answers above a confidence should have
    expected     published results of the weights
    run          the run, if `source` is one
    plan         how the model ran on the test images; None for an exported model, or if only their logits are known
    environment  the machine and the library versions, see `mixlab.measure.machine.describe`
    """

    source: str
    model: str
    data: str
    noun: str
    evaluated: str
    views: Views
    split: Split | None
    names: Sequence[str]
    evaluation: Evaluation
    calibrated: Calibrated | None
    real: Estimate | None
    left_out: int
    near_copies: int | None
    notes: tuple[str, ...]
    majority: Estimate
    wanted: float
    expected: tuple[Expected, ...]
    run: Run | None
    plan: InferencePlan | None
    environment: dict[str, Any]

    @property
    def samples(self) -> str:
        """ "1,200 images"."""
        return pluralize(len(self.evaluation), self.noun)

    @property
    def title(self) -> str:
        return f"{self.model} on {self.data}"

    @cached_property
    def summary(self) -> dict[Metric, Estimate]:
        """The metrics that are defined, in the order of `mixlab.evaluation.metrics.METRICS`."""
        return summary(self.evaluation)

    @cached_property
    def trusted(self) -> TrustedAnswers | None:
        """The answers above a confidence; None without validation images."""
        if self.calibrated is None:
            return None
        return trusted_answers(self.calibrated.validation, self.evaluation, self.wanted)

    @property
    def is_imbalanced(self) -> bool:
        """Whether the largest class has more than three times the images of the smallest one that has any."""
        counts = np.unique(self.evaluation.labels, return_counts=True)[1]
        return bool(counts.max() > _IMBALANCED * counts.min())

    @property
    def conclusion(self) -> str:
        """The accuracy and the comparison with the majority class, in a sentence.

        It is the balanced accuracy if the classes have very different numbers of images.
        """
        if self.is_imbalanced:
            return (
                f"{self.model} classifies {_with_ends(balanced_accuracy(self.evaluation))} of the {self.noun}s of a "
                f"class correctly, on average over the classes, which have very different numbers of {self.noun}s. It "
                f"classifies {_with_ends(self.evaluation.top1)} of all {self.noun}s correctly, {self._versus_majority}."
            )
        return (
            f"{self.model} classifies {_with_ends(self.evaluation.top1)} of the {self.noun}s correctly, "
            f"{self._versus_majority}."
        )

    @property
    def _versus_majority(self) -> str:
        low = self.evaluation.top1.low
        assert low is not None  # a proportion has an interval
        comparison = "significantly more than" if low > self.majority.value else "not significantly more than"
        return f"{comparison} the {number(self.majority.value, 1)} % of always predicting the most frequent class"

    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        confusion = self.evaluation.confusion.tocoo()
        return {
            "schema": SCHEMA,
            "source": self.source,
            "model": self.model,
            "data": {
                "name": self.data,
                "evaluated": self.evaluated,
                "images": len(self.evaluation),
                "left_out": self.left_out,
                "near_copies": self.near_copies,
            },
            "commit": self.environment["commit"],
            "device": self.environment["device"],
            "execution": self.plan and self.plan.to_dict(),
            "views": self.views.facts,
            **{metric.key: asdict(estimate) for metric, estimate in self.summary.items()},
            **({"real": asdict(self.real)} if self.real else {}),
            "baselines": {"majority class": asdict(self.majority)},
            "reliability": [asdict(each) for each in reliability(self.evaluation)],
            "calibration": self._calibration_results(),
            "classes": [asdict(metrics) for metrics in by_class(self.evaluation)],
            # [true class, predicted class, images]; pairs that do not occur are omitted
            "confusion": [[*map(int, cell)] for cell in zip(*confusion.coords, confusion.data, strict=True)],
        }

    def _calibration_results(self) -> dict[str, Any] | None:
        if self.calibrated is None or self.trusted is None:
            return None
        return {
            "validation_images": len(self.calibrated.validation),
            "temperature": self.calibrated.temperature,
            "scaled": {metric.key: asdict(value) for metric, value in summary(self.calibrated.evaluation).items()},
            "trusted": asdict(self.trusted),
        }


def _with_ends(share: Estimate) -> str:
    """ "97.1 % (95 % interval: 95.2 to 98.2 %)"."""
    assert share.low is not None and share.high is not None  # a proportion has an interval
    return f"{number(share.value, 1)} % (95 % interval: {number(share.low, 1)} to {number(share.high, 1)} %)"


def evaluate_model(
    source: str,
    data: str | None,
    *,
    wanted: float = DEFAULT_ACCURACY,
    views: Views | None = None,
    real: Path | None = None,
    device: str | None = None,
    fields: Mapping[str, Any] | None = None,
    save_logits: Path | None = None,
    speed: Speed = "off",
    log: Log | None = None,
    quiet: bool,
) -> ModelEvaluation:
    """Evaluate weights.

    source       as for `mixlab.load`: a run, a published name, hub:owner/name, timm:NAME.TAG, a folder or a file
    data         the name of a data set; None, or the data set of the training: the test images that the run held out
    wanted       the accuracy in per cent that answers above a confidence should have
    views        the crop and the test-time augmentation; None: those of the weights
    real         a file with the ReaL labels of the ImageNet validation images
    device       "cpu", "cuda", "cuda:1" or "mps"; None: the fastest one of this machine
    fields       config fields that cannot be inferred from the weights
    save_logits  file for the logits of the validation and test images, see `mixlab.evaluation.logits_file`; they are
                 those of the stock plan
    speed        "auto": under the fastest plan of this machine; "off": the stock plan, eager in fp32
    log          called with a line about the plan that was selected
    quiet        no progress bar

    Images that the weights have learned from are left out. The temperature and the confidence threshold are fitted on
    validation images. Raises UserError if no images are left, if the data cannot be read, if its classes are not those
    of the weights, or if the weights cannot be loaded.
    """
    check_wanted(wanted)
    if save_logits is not None:
        require_pyarrow()
    real_labels = None if real is None else read_real_labels(real)
    prepared = prepare_evaluation(source, data, views=views, device=device, fields=fields, quiet=quiet)
    require_classification(prepared.task, source, "be evaluated this way")
    dataset = prepared.dataset
    indices = None if real_labels is None else imagenet_indices(dataset.classes)
    with_logits = save_logits is not None
    images = sum(len(split) for name, split in dataset.splits.items() if name != "train")
    inference = prepared.inference(images, "off" if with_logits else speed, log)
    scorer = Scorer(prepared, dataset, inference, with_logits=with_logits)
    calibrated, test = _evaluate_calibrated(scorer) if "validation" in dataset.splits else (None, scorer("test"))
    if save_logits is not None:
        header = LogitsHeader(source, prepared.model, dataset.name, prepared.evaluated, dataset.classes, dataset.noun)
        write_logits(save_logits, header, scorer.rows())
    scorer.remove_parts()
    unreadable = (f"{image} was left out: {reason}." for image, reason in test.unreadable.items())
    return ModelEvaluation(
        source=source,
        model=prepared.model,
        data=dataset.name,
        noun=dataset.noun,
        evaluated=prepared.evaluated,
        views=prepared.views,
        split=test.split,
        names=test.split.names,
        evaluation=test.evaluation,
        calibrated=calibrated,
        real=(
            None
            if real_labels is None or indices is None
            else real_accuracy(test.split.names, indices[test.evaluation.predictions], real_labels)
        ),
        left_out=prepared.unseen.left_out,
        near_copies=prepared.unseen.near_copies,
        notes=(*dataset.notes, *prepared.unseen.notes, *unreadable),
        majority=majority_accuracy(dataset.splits.get("train", test.split).labels, test.split.labels),
        wanted=wanted,
        expected=published_results(source),
        run=prepared.run,
        plan=None if prepared.is_exported else test.plan,
        environment=machine.describe(prepared.device),
    )


def _evaluate_calibrated(scorer: Scorer) -> tuple[Calibrated, Evaluated]:
    """Fit the temperature on the validation images, and evaluate the test images with and without it."""
    fit = TemperatureFit()
    validation = scorer("validation", receive=fit.add)
    test = scorer("test", temperature=fit.temperature)
    assert test.scaled is not None
    return Calibrated(validation.evaluation, fit.temperature, test.scaled), test


def check_wanted(wanted: float) -> None:
    """Raises UserError if an accuracy cannot be reached by answering only some images."""
    if not 0 < wanted < 100:
        raise UserError(f"--accuracy {wanted:g} is not possible: give per cent above 0 and below 100, for example 99.")


def published_results(source: str) -> tuple[Expected, ...]:
    """The published results of weights with a Card."""
    card = find_card(source)
    return card.expected if card else ()
