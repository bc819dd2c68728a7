"""How good a finished run is on images that it was not trained on."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

from mixlab.data.batches import Batch, EvalBatches
from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.data.sources import is_same_source, open_dataset, open_for_evaluation, open_with_assignment
from mixlab.errors import UserError
from mixlab.evaluation.baselines import accuracy, majority_class
from mixlab.evaluation.evaluate import Evaluation, evaluate, predict_fn
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
    """A run's answers for the test part of `dataset`, and what they are worth.

    `evaluated` says which images these are. `majority`: what one answer for all of them would have reached, the
    commonest class of the training images where those are at hand, else of the judged ones.
    """

    run: Run
    dataset: Dataset
    evaluated: str
    evaluation: Evaluation
    majority: Estimate
    environment: dict[str, Any]

    @property
    def split(self) -> Split:
        return self.dataset.splits["test"]

    @property
    def images(self) -> str:
        return f"{len(self.split):,} images"

    @property
    def title(self) -> str:
        return f"{self.run.config['model']} on {self.dataset.name}"

    @property
    def answer(self) -> str:
        """A sentence."""
        top1 = self.evaluation.top1
        assert top1.low is not None and top1.high is not None
        beaten = top1.low > self.majority.value
        better = "more than" if beaten else "not certainly more than"
        ends = f"{number(top1.low, 1)} to {number(top1.high, 1)} %"
        return (
            f"{self.run.config['model']} has {number(top1.value, 1)} % of the images right (95 %: {ends}), {better} "
            f"the {number(self.majority.value, 1)} % of always answering the commonest class."
        )

    @property
    def summary(self) -> dict[str, Estimate]:
        """Per cent; top-5 only where it is no gift."""
        evaluation = self.evaluation
        top5 = {"top5": evaluation.top(5)} if len(evaluation.classes) > 5 else {}
        return {
            "top1": evaluation.top1,
            **top5,
            "balanced_accuracy": evaluation.balanced_accuracy,
            "macro_f1": evaluation.macro_f1,
        }

    def results(self) -> dict[str, Any]:
        """results.json."""
        evaluation = self.evaluation
        return {
            "schema": SCHEMA,
            "run": str(self.run.path),
            "model": self.run.config["model"],
            "data": {"name": self.dataset.name, "judged": self.evaluated, "images": len(self.split)},
            "commit": self.environment["commit"],
            "device": self.environment["device"],
            **{measure: asdict(estimate) for measure, estimate in self.summary.items()},
            "yardsticks": {"majority class": asdict(self.majority)},
            "classes": [asdict(one) for one in evaluation.by_class],
            "confusion": evaluation.confusion.tolist(),  # a row for each true class, a column for each answer
        }


def evaluate_run(run: Run, data: str | None, *, quiet: bool) -> RunEvaluation:
    """On `data`; without it, or where it holds what the run was trained on, on the part that the run held out."""
    recipe = run.recipe
    classes = tuple(run.config["classes"])
    dataset, evaluated = _opened(run, recipe["data"], data, classes)
    device = machine.pick_device()
    predict = predict_fn(prepare_model(load(run.path), device, ComputeMode()), device, ComputeMode())
    batches = EvalBatches(
        dataset.splits["test"],
        Preprocess.from_dict(run.config["preprocess"]),
        batch=BATCH,
        workers=recipe["workers"],
        max_unreadable=recipe["max_unreadable"],
        quiet=quiet,
    )
    dataset = _readable(dataset, batches)
    test = dataset.splits["test"]
    with progress(f"judge {run.path.name}", total=len(test), quiet=quiet) as advance:
        evaluation = evaluate(predict, _counted(batches, advance), classes)
    return RunEvaluation(
        run=run,
        dataset=dataset,
        evaluated=evaluated,
        evaluation=evaluation,
        majority=accuracy(majority_class(dataset.splits.get("train", test).labels, len(test)), test.labels),
        environment=machine.describe(device),
    )


def _opened(run: Run, trained_on: str, data: str | None, classes: tuple[str, ...]) -> tuple[Dataset, str]:
    """The images to judge on, as the part "test", and which they are, in words."""
    held_out_mask = "the test part that the run held out"
    if data is None or is_same_source(data, trained_on):
        return _held_out(run, trained_on, classes), held_out_mask
    unseen = open_for_evaluation(data, classes)
    if run.split_assignment is not None and set(chain.from_iterable(run.split_assignment.values())) <= set(
        unseen.splits["test"].names
    ):
        # The folder was moved or copied: judged whole, most of its images would be those that the run learned from.
        return open_with_assignment(
            data, run.split_assignment, classes
        ), f"{held_out_mask}, since all that it was trained on lies here as well"
    return unseen, "images that the run never saw"


def _held_out(run: Run, trained_on: str, classes: tuple[str, ...]) -> Dataset:
    """What the run was trained on, in the run's parts."""
    if run.split_assignment is not None:
        return open_with_assignment(trained_on, run.split_assignment, classes)
    dataset = open_dataset(trained_on)
    if dataset.split_by_mixlab:
        raise UserError(
            f"{run.path} has no split.json, which says what it held out of {trained_on}: copy the run anew, or give "
            "images that it never saw as --data."
        )
    return dataset.relabelled(classes)


def _readable(dataset: Dataset, batches: EvalBatches) -> Dataset:
    """Without the test images that were left out, which the notes name."""
    notes = tuple(f"{image} was left out: {reason}." for image, reason in batches.unreadable.items())
    test = dataset.splits["test"].subset(batches.readable)
    return replace(dataset, splits=dataset.splits | {"test": test}, notes=dataset.notes + notes)


def _counted(batches: Iterable[Batch], advance: Advance) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        advance(len(batch.labels))
