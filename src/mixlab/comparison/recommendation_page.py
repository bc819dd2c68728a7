"""What the reports of all comparisons have alike: the answer, pairs, mistakes, costs, and what ran."""

import shlex
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from mixlab.comparison.ranking import Pair, Verdict
from mixlab.comparison.recommendation import Choice
from mixlab.data.dataset import Part
from mixlab.evaluation.confident_errors import surest_mistakes
from mixlab.report.axes import Axis
from mixlab.report.confusion import confusion_matrix
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import pair_intervals
from mixlab.report.image_grid import Mistakes
from mixlab.report.page import Answer, Beside, Block, Details, KeyFigure, Section
from mixlab.report.table import Table
from mixlab.report.text import counted
from mixlab.report.tradeoff import trade_off
from mixlab.stats.estimate import Estimate

ACCURACY = Axis("Top-1", "%", "higher", digits=1)


def chosen(choice: Choice, detectable: str, difference: Estimate, costs: Sequence[KeyFigure]) -> Answer:
    """`difference`: of the closest pair; `costs`: of the taken model."""
    taken, closest = choice.taken, choice.closest
    return Answer(
        choice.answer,
        " ".join([choice.worth, detectable, choice.yardsticks_reached]),
        [
            KeyFigure(f"Top-1 of {taken}", choice.top1[taken], 1),
            KeyFigure(f"Ahead of {closest.b}" if closest.a == taken else f"Behind {closest.a}", difference, 2),
            *costs,
        ],
    )


def more_than_chance(top1: Figure, verdict: Verdict, differences: Mapping[Pair, Estimate], table: Table) -> Section:
    """`top1`: the figure of every model's accuracy; `table`: of the pairs."""
    pairs = pair_intervals(
        "Every pair",
        {(pair.a, pair.b): estimate for pair, estimate in differences.items()},
        Axis("Difference", "points", digits=1),
        told_apart=[(pair.a, pair.b) for pair in verdict.pairs if pair.is_told_apart],
        detectable=min(verdict.detectable, 100.0),
        caption="How much higher the first model's mean is, with 95 % intervals, both models on the same images. "
        "Filled marks: told apart, since the interval excludes 0.",
    )
    blocks: list[Block] = (
        [Beside([top1, pairs]), table]
        if len(pairs.panels) == 1
        else [top1, pairs, Details(f"The {len(table.rows)} pairs as a table", [table])]
    )
    return Section("More than chance?", blocks)


def accuracy_against(
    costs: Mapping[Axis, Mapping[str, Estimate]], top1: Mapping[str, Estimate], models: Sequence[str]
) -> Figure:
    return trade_off(
        "Accuracy against cost",
        top1,
        ACCURACY,
        costs,
        models=models,
        caption="Means with 95 % intervals in both directions; arrows point to the better side.",
    )


def mistakes(
    model: str,
    test: Part,
    probabilities: Float[np.ndarray, "image class"],
    classes: tuple[str, ...],
    confusion: Int[np.ndarray, "class class"],
    *,
    trainings: int,
    answers: str,
    averaged: str,
) -> Section:
    """`confusion` counts the answers of all `trainings`, `answers` says whose; `averaged`: what gives probabilities."""
    images = counted(len(test), "test image")
    matrix = confusion_matrix(
        "What is taken for what", confusion, classes, trainings=trainings, caption=f"{answers} on {images}."
    )
    wrong = int((probabilities.argmax(axis=1) != test.labels).sum())
    surest = surest_mistakes(test, classes, probabilities)
    shown = "all of them" if len(surest) == wrong else f"the surest {len(surest)}"
    gallery = Mistakes(
        "Most confidently wrong",
        surest,
        f"{averaged}, {wrong} of {images} are wrong; {shown}: the true class → the answer, and its probability.",
    )
    return Section(f"Where {model} errs", [Beside([matrix, gallery])])


def command(**options: object) -> str:
    """What was typed, or would have been: an option that is None was not given."""
    given = [
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in options.items() if value is not None
    ]
    return " ".join(["mixlab compare", *given])
