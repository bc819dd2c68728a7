"""Methods that were evaluated on several test sets: ranks, and differences from a reference."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from mixlab.errors import UserError
from mixlab.evaluation.predictions import Predictions, check_same_set
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import join_words
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.stats.over_sets import mean_difference
from mixlab.stats.paired import Difference, crossed_t, holm, paired_p

_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class MethodOverSets:
    """One method on all sets. Differences are its accuracy minus that of the reference, in percentage points.

    rank         the mean of its ranks, 1 for the best; the interval is simultaneous for all methods and sets
    top1         mean accuracy on each set, in per cent
    differences  on each set; empty for the reference
    mean         over these sets, for other images and trainings; None for the reference
    other_sets   the same mean with an interval for other sets, Student's t over the sets; None for the reference
    """

    name: str
    rank: Estimate
    top1: tuple[float, ...]
    differences: tuple[Difference, ...]
    mean: Difference | None
    other_sets: Estimate | None


@dataclass(frozen=True, slots=True)
class SeveralSets:
    """The result of `compare_over_sets`; `methods` are in the order of their mean ranks."""

    sets: tuple[str, ...]
    reference: str
    methods: tuple[MethodOverSets, ...]

    def table(self, noun: str) -> Table:
        """Ranks and differences in one table: a row for each method, a column for each set. A sample is a `noun`."""
        columns = [
            Column("method", "method"),
            Column("rank", "mean rank", digits=1, uncertainty="interval"),
            *(Column(f"set {index}", name, "points", 2) for index, name in enumerate(self.sets)),
            Column("mean", "mean, these sets", "points", 2),
            Column("other_sets", "mean, other sets", "points", 2, uncertainty="interval"),
        ]
        notes = [
            f"Points: the accuracy minus that of {self.reference}, with the 95 % interval of each difference alone.",
            "Mean rank: 1 is the best. The ranks of all methods on all sets are within their brackets with a "
            "confidence of 95 %.",
            f"Mean, these sets: for other {noun}s and trainings. Mean, other sets: Student's t over the sets, as if "
            "they were a random sample of sets.",
        ]
        return Table(f"{len(self.sets)} test sets", columns, [_row(method) for method in self.methods], notes)

    def to_dict(self) -> dict[str, Any]:
        """The entry in results.json."""
        return asdict(self)


def compare_over_sets(sets: Sequence[Sequence[Predictions]]) -> SeveralSets:
    """Compare two or more methods on two or more test sets that have no images in common.

    sets:  for each set, the predictions of the same methods, by the names of the models. The first method of the first
           set is the reference. Run i of a method is the same training on every set, or all trainings are different.

    The rank of a method on a set is at least 1 + the number of methods that are significantly better, and at most the
    number of methods - the number that are significantly worse (Mogstad et al., 2024, "Inference for ranks"), with
    Holm's adjustment for all pairs on all sets. The bounds of the mean rank are the means of these bounds.

    Raises UserError if a set lacks a method, or if the methods were evaluated on different images of a set.
    """
    names = [predictions.model for predictions in sets[0]]
    by_set = [_by_name(predictions, names) for predictions in sets]
    ranks = _ranks(np.array([[methods[name].correct.mean() for name in names] for methods in by_set]))
    lowest, highest = _rank_bounds(by_set, names)
    reference = names[0]
    methods = []
    for index, name in enumerate(names):
        rank = Estimate(
            float(ranks[:, index].mean()), lowest[:, index].mean(), highest[:, index].mean(), len(sets), unit=""
        )
        top1 = tuple(100 * float(methods[name].correct.mean()) for methods in by_set)
        pairs = [(methods[name].correct, methods[reference].correct) for methods in by_set]
        if name == reference:
            methods.append(MethodOverSets(name, rank, top1, (), None, None))
            continue
        differences = tuple(crossed_t(a, b) for a, b in pairs)
        other_sets = mean_interval([each.difference for each in differences], "points", least=-100, most=100)
        methods.append(MethodOverSets(name, rank, top1, differences, mean_difference(pairs), other_sets))
    data = tuple(predictions[0].data for predictions in sets)
    return SeveralSets(data, reference, tuple(sorted(methods, key=lambda method: method.rank.value)))


def _by_name(predictions: Sequence[Predictions], names: Sequence[str]) -> dict[str, Predictions]:
    methods = {each.model: each for each in predictions}
    if missing := [name for name in names if name not in methods]:
        raise UserError(
            f"{predictions[0].data} has no predictions of {join_words(missing)}: evaluate every model on every set."
        )
    for each in methods.values():
        check_same_set(methods[names[0]], each)
    return methods


def _ranks(accuracies: Float[np.ndarray, "set method"]) -> Float[np.ndarray, "set method"]:
    """1 for the best; equal accuracies have the mean of their ranks."""
    better = (accuracies[:, None, :] > accuracies[:, :, None]).sum(axis=2)
    equal = (accuracies[:, None, :] == accuracies[:, :, None]).sum(axis=2)
    return better + (equal + 1) / 2


def _rank_bounds(
    by_set: Sequence[dict[str, Predictions]], names: Sequence[str]
) -> tuple[Float[np.ndarray, "set method"], Float[np.ndarray, "set method"]]:
    """The lowest and the highest rank, simultaneous at 95 %."""
    pairs = [(index, a, b) for index in range(len(by_set)) for a, b in combinations(range(len(names)), 2)]
    correct = [[methods[name].correct for name in names] for methods in by_set]
    adjusted = holm([paired_p(correct[index][a], correct[index][b]) for index, a, b in pairs])
    lowest = np.ones((len(by_set), len(names)))
    highest = np.full((len(by_set), len(names)), float(len(names)))
    for (index, a, b), p in zip(pairs, adjusted, strict=True):
        if p < _LEVEL:
            better, worse = (a, b) if correct[index][a].mean() > correct[index][b].mean() else (b, a)
            lowest[index, worse] += 1
            highest[index, better] -= 1
    return lowest, highest


def _row(method: MethodOverSets) -> dict[str, Cell]:
    row: dict[str, Cell] = {"method": method.name, "rank": method.rank, "other_sets": method.other_sets}
    if method.mean is not None:
        row["mean"] = method.mean.estimate
    return row | {f"set {index}": each.estimate for index, each in enumerate(method.differences)}
