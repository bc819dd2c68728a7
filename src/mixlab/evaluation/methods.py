"""Methods that are evaluated on the same images: each is one run or several runs, such as trainings with other seeds.

result = evaluate_methods("runs/a1,runs/a2,runs/a3", ["runs/b1,runs/b2,runs/b3"], [None], margin=1.0, ...)
result.comparisons[0].difference
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mixlab.data.name_groups import public_name
from mixlab.errors import UserError
from mixlab.evaluation.correctness import is_correctness_file, read_correctness
from mixlab.evaluation.model_evaluation import SCHEMA, ModelEvaluation
from mixlab.evaluation.paired_comparison import PairedComparison, check_margin, compare_predictions
from mixlab.evaluation.predictions import Predictions, predictions_of_run, stack_runs
from mixlab.evaluation.several_sets import SeveralSets, compare_over_sets
from mixlab.report.text import join_words

Evaluate = Callable[[str, str | None], ModelEvaluation]
"""Evaluates a source on the data of a name, or on the images that a run held out."""


DEFAULT_MARGIN = 1.0
"""For equivalence, in percentage points."""


@dataclass(frozen=True, eq=False)
class Method:
    """One method on one data set.

    text         as the user wrote it
    evaluations  of its runs; empty for a file of correctness
    predictions  of all its runs
    """

    text: str
    evaluations: tuple[ModelEvaluation, ...]
    predictions: Predictions


@dataclass(frozen=True, eq=False)
class MethodsEvaluation:
    """The first method and those that it is compared with, on one or several data sets.

    sets    for each data set, all methods in the same order
    margin  for equivalence, in percentage points
    """

    sets: tuple[tuple[Method, ...], ...]
    margin: float

    @property
    def single(self) -> ModelEvaluation | None:
        """The evaluation of the first method, if it is one run on one data set."""
        first = self.sets[0][0]
        return first.evaluations[0] if len(self.sets) == len(first.evaluations) == 1 else None

    @cached_property
    def comparisons(self) -> tuple[PairedComparison, ...]:
        """The first method against each other one, on each data set."""
        return tuple(
            compare_predictions(first.predictions, other.predictions, self.margin)
            for first, *others in self.sets
            for other in others
        )

    @cached_property
    def over_sets(self) -> SeveralSets | None:
        """Ranks and differences over the data sets; None for one set or one method."""
        if len(self.sets) == 1 or len(self.sets[0]) == 1:
            return None
        return compare_over_sets([[method.predictions for method in methods] for methods in self.sets])

    @property
    def noun(self) -> str:
        """What a sample is, for sentences."""
        return self.sets[0][0].predictions.noun

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of all evaluations, each once."""
        evaluations = (one for methods in self.sets for method in methods for one in method.evaluations)
        return tuple(dict.fromkeys(note for one in evaluations for note in one.notes))

    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        comparisons = [comparison.to_dict() for comparison in self.comparisons]
        if self.single is not None:
            return self.single.results() | ({"against": comparisons} if comparisons else {})
        evaluations = [one.results() for methods in self.sets for method in methods for one in method.evaluations]
        return {
            "schema": SCHEMA,
            "evaluations": evaluations,
            "against": comparisons,
            "sets": self.over_sets and self.over_sets.to_dict(),
        }


def evaluate_methods(
    first: str, against: Sequence[str], data: Sequence[str | None], *, margin: float, evaluate: Evaluate
) -> MethodsEvaluation:
    """Evaluate a method, and others on the same images.

    first, against  each a source or a file of correctness, or several of them for runs of one method, with commas
    data            names of data sets; None: the images that the runs held out
    margin          for equivalence, in percentage points
    evaluate        for one source and one data set

    Raises UserError if methods were evaluated on different images, if runs of one method are of different models, or
    if a run or a data set is given twice.
    """
    check_margin(margin)
    _require_different([name for name in data if name is not None], "--data", "data sets")
    for text in (first, *against):
        _require_different(sources_of(text), text, "runs of one method")
    sets = tuple(tuple(_evaluate_method(text, name, evaluate) for text in (first, *against)) for name in data)
    return MethodsEvaluation(tuple(map(_with_different_names, sets)), margin)


def sources_of(text: str) -> list[str]:
    """The sources of one method: its runs, separated by commas, unless a file or folder has this name."""
    return [text] if Path(text).expanduser().exists() else text.split(",")


def _require_different(sources: Sequence[str], where: str, what: str) -> None:
    """Raises UserError if a source is given twice, also by different paths."""
    first: dict[Path, str] = {}
    for source in sources:
        resolved = Path(source).expanduser().resolve()
        if resolved in first:
            raise UserError(f"{where} has {source} twice, and {what} must be different ones: remove one of them.")
        first[resolved] = source


def _evaluate_method(text: str, data: str | None, evaluate: Evaluate) -> Method:
    sources = sources_of(text)
    found = [
        read_correctness(Path(source)) if is_correctness_file(Path(source)) else evaluate(source, data)
        for source in sources
    ]
    evaluations = tuple(one for one in found if isinstance(one, ModelEvaluation))
    runs = [predictions_of(one) if isinstance(one, ModelEvaluation) else one for one in found]
    models = sorted({one.model for one in runs})
    if len(models) > 1 and all(isinstance(one, ModelEvaluation) and one.run for one in found):
        raise UserError(
            f"{text} are runs of different models, {join_words(models)}: the runs of one method differ only in their "
            "seed. Compare models with --against."
        )
    return Method(text, evaluations, stack_runs(models[0], runs))


def _with_different_names(methods: tuple[Method, ...]) -> tuple[Method, ...]:
    """Methods of the same model are named by what the user wrote."""
    names = [method.predictions.model for method in methods]
    if len(set(names)) == len(names):
        return methods
    return tuple(
        Method(method.text, method.evaluations, stack_runs(method.text, [method.predictions])) for method in methods
    )


def predictions_of(evaluated: ModelEvaluation) -> Predictions:
    """Which images the model classifies correctly, without local paths in the name of the data."""
    return predictions_of_run(
        evaluated.model,
        public_name(evaluated.data),
        names=evaluated.names,
        classes=evaluated.evaluation.classes,
        labels=evaluated.evaluation.labels,
        predicted=evaluated.evaluation.predictions,
        noun=evaluated.noun,
    )
