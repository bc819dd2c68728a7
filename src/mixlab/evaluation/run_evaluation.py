"""Evaluate a finished run on images that it was not trained on."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from mixlab.data.batches import Batch, EvalBatches
from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.data.sources import is_same_source, open_dataset, open_for_evaluation, open_with_assignment
from mixlab.data.subset import subset
from mixlab.errors import UserError
from mixlab.evaluation.baselines import accuracy, majority_class
from mixlab.evaluation.evaluate import Evaluation, evaluate, predict_fn
from mixlab.evaluation.unseen_images import UnseenImages, unseen_by_weights
from mixlab.measure import machine
from mixlab.report.numbers import number
from mixlab.report.progress import Advance, progress
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, prepare_model
from mixlab.stats.estimate import Estimate
from mixlab.weights.load import load

SCHEMA = 1
BATCH = 64


@dataclass(frozen=True)
class RunEvaluation:
    """The predictions of a run for the test split of `dataset`, with their metrics.

    dataset      the "test" split contains the evaluated images; other splits may be missing
    evaluated    which images were evaluated, in words
    unseen       which of them were left out because the run has learned from them
    majority     accuracy in per cent of always predicting the most frequent class of the training images, or of the
                 evaluated images if the training images are not available
    environment  the machine and the library versions, see `mixlab.measure.machine.describe`
    """

    run: Run
    dataset: Dataset
    evaluated: str
    unseen: UnseenImages
    evaluation: Evaluation
    majority: Estimate
    environment: dict[str, Any]

    @property
    def split(self) -> Split:
        """The evaluated images."""
        return self.dataset.splits["test"]

    @property
    def images(self) -> str:
        """ "1,200 images"."""
        return f"{len(self.split):,} images"

    @property
    def title(self) -> str:
        return f"{self.run.config['model']} on {self.dataset.name}"

    @property
    def conclusion(self) -> str:
        """The accuracy and the comparison with the majority class, in a sentence."""
        top1 = self.evaluation.top1
        assert top1.low is not None and top1.high is not None
        is_better = top1.low > self.majority.value
        comparison = "significantly more than" if is_better else "not significantly more than"
        ends = f"{number(top1.low, 1)} to {number(top1.high, 1)} %"
        return (
            f"{self.run.config['model']} classifies {number(top1.value, 1)} % of the images correctly (95 % interval: "
            f"{ends}), {comparison} the {number(self.majority.value, 1)} % of always predicting the most frequent "
            "class."
        )

    @property
    def summary(self) -> dict[str, Estimate]:
        """The metrics in per cent; top-5 only if there are more than 5 classes."""
        evaluation = self.evaluation
        top5 = {"top5": evaluation.topk(5)} if len(evaluation.classes) > 5 else {}
        return {
            "top1": evaluation.top1,
            **top5,
            "balanced_accuracy": evaluation.balanced_accuracy,
            "macro_f1": evaluation.macro_f1,
        }

    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        evaluation = self.evaluation
        return {
            "schema": SCHEMA,
            "run": str(self.run.path),
            "model": self.run.config["model"],
            "data": {
                "name": self.dataset.name,
                "evaluated": self.evaluated,
                "images": len(self.split),
                "left_out": self.unseen.left_out,
                "near_copies": self.unseen.near_copies,
            },
            "commit": self.environment["commit"],
            "device": self.environment["device"],
            **{measure: asdict(estimate) for measure, estimate in self.summary.items()},
            "baselines": {"majority class": asdict(self.majority)},
            "classes": [asdict(metrics) for metrics in evaluation.by_class],
            "confusion": evaluation.confusion.tolist(),  # rows: true classes, columns: predicted classes
        }


def evaluate_run(run: Run, data: str | None, *, quiet: bool, device: str | None = None) -> RunEvaluation:
    """Evaluate a run in fp32.

    run    a finished run
    data   the name of a data set; None, or the data set of the training: the test images that the run held out
    device "cpu", "cuda", "cuda:1" or "mps"; None: the fastest one of this machine
    quiet  no progress bar

    Images that the run has learned from are left out. Raises UserError if none are left, if the data cannot be read, if
    its classes are not those of the run, or if the split of the run is lost.
    """
    recipe = run.recipe
    classes = tuple(run.config["classes"])
    dataset, evaluated = _open_dataset(run, recipe["data"], data, classes)
    unseen = unseen_by_weights(dataset, ("test",), [str(run.path)], quiet=quiet)
    dataset = unseen.dataset
    torch_device = machine.pick_device(device)
    predict = predict_fn(prepare_model(load(run.path), torch_device, ComputeMode()), torch_device, ComputeMode())
    batches = EvalBatches(
        dataset.splits["test"],
        Preprocess.from_dict(run.config["preprocess"]),
        batch=BATCH,
        workers=recipe["workers"],
        max_unreadable=recipe["max_unreadable"],
        quiet=quiet,
    )
    dataset = _drop_unreadable(dataset, batches)
    test = dataset.splits["test"]
    with progress(f"evaluate {run.path.name}", total=len(test), quiet=quiet) as advance:
        evaluation = evaluate(predict, _with_progress(batches, advance), classes)
    return RunEvaluation(
        run=run,
        dataset=dataset,
        evaluated=evaluated,
        unseen=unseen,
        evaluation=evaluation,
        majority=accuracy(majority_class(dataset.splits.get("train", test).labels, len(test)), test.labels),
        environment=machine.describe(torch_device),
    )


def _open_dataset(run: Run, trained_on: str, data: str | None, classes: tuple[str, ...]) -> tuple[Dataset, str]:
    """The data set with the images to evaluate as its "test" split, and a description of these images."""
    held_out = "the test split that the run held out"
    if data is None or is_same_source(data, trained_on):
        return _open_held_out(run, trained_on, classes), held_out
    is_recorded = run.training_images.is_file()
    evaluated = f"images that the run {'was not' if is_recorded else 'may have been'} trained on"
    return open_for_evaluation(data, classes), evaluated


def _open_held_out(run: Run, trained_on: str, classes: tuple[str, ...]) -> Dataset:
    """The data set of the training, with the splits of the run."""
    if run.split_assignment is not None:
        return open_with_assignment(trained_on, run.split_assignment, classes)
    dataset = open_dataset(trained_on)
    if dataset.split_by_mixlab:
        raise UserError(
            f"{run.path} has no split.json, so the images of {trained_on} that it held out are unknown: copy the run "
            "again, or pass other images with --data."
        )
    if chosen := run.recipe.get("subset", {}).get("classes"):
        dataset = subset(dataset, classes=chosen, per_class=None, share=None, seed=0)
    return dataset.relabelled(classes)


def _drop_unreadable(dataset: Dataset, batches: EvalBatches) -> Dataset:
    """The data set without the unreadable test images, which are listed in its notes."""
    notes = tuple(f"{image} was left out: {reason}." for image, reason in batches.unreadable.items())
    test = dataset.splits["test"].subset(batches.readable)
    return replace(dataset, splits=dataset.splits | {"test": test}, notes=dataset.notes + notes)


def _with_progress(batches: Iterable[Batch], advance: Advance) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        advance(len(batch.labels))
