"""What the reports of all comparisons have alike: the answer, pairs, mistakes, costs, and what ran."""

import shlex
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from mixlab.comparison.ranking import Pair, Ranking
from mixlab.comparison.recommendation import Recommendation
from mixlab.data.dataset import Split
from mixlab.evaluation.confident_errors import most_confident_errors
from mixlab.report.axes import Axis
from mixlab.report.confusion import confusion_matrix
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import pair_forest_plot
from mixlab.report.image_grid import ErrorGallery
from mixlab.report.page import Block, Columns, Details, Metric, Section, Summary
from mixlab.report.table import Table
from mixlab.report.text import pluralize
from mixlab.report.tradeoff import trade_off
from mixlab.stats.estimate import Estimate

ACCURACY = Axis("Top-1", "%", "higher", digits=1)


def recommendation_summary(
    recommendation: Recommendation, detectable: str, difference: Estimate, costs: Sequence[Metric]
) -> Summary:
    """`difference`: of the closest pair; `costs`: of the taken model."""
    chosen, closest_pair = recommendation.chosen, recommendation.closest_pair
    return Summary(
        recommendation.answer,
        " ".join([recommendation.uncertainty, detectable, recommendation.baselines_text]),
        [
            Metric(f"Top-1 of {chosen}", recommendation.top1[chosen], 1),
            Metric(
                f"Ahead of {closest_pair.b}" if closest_pair.a == chosen else f"Behind {closest_pair.a}", difference, 2
            ),
            *costs,
        ],
    )


def significance_section(top1: Figure, ranking: Ranking, differences: Mapping[Pair, Estimate], table: Table) -> Section:
    """`top1`: the figure of every model's accuracy; `table`: of the pairs."""
    pairs = pair_forest_plot(
        "Every pair",
        {(pair.a, pair.b): estimate for pair, estimate in differences.items()},
        Axis("Difference", "points", digits=1),
        significant=[(pair.a, pair.b) for pair in ranking.pairs if pair.is_significant],
        detectable=min(ranking.detectable, 100.0),
        caption="How much higher the first model's mean is, with 95 % intervals, both models on the same images. "
        "Filled marks: told apart, since the interval excludes 0.",
    )
    blocks: list[Block] = (
        [Columns([top1, pairs]), table]
        if len(pairs.panels) == 1
        else [top1, pairs, Details(f"The {len(table.rows)} pairs as a table", [table])]
    )
    return Section("More than chance?", blocks)


def accuracy_cost_figure(
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
    test: Split,
    probabilities: Float[np.ndarray, "image class"],
    classes: tuple[str, ...],
    confusion: Int[np.ndarray, "class class"],
    *,
    trainings: int,
    answers: str,
    averaged: str,
) -> Section:
    """`confusion` counts the answers of all `trainings`, `answers` says whose; `averaged`: what gives probabilities."""
    images = pluralize(len(test), "test image")
    matrix = confusion_matrix(
        "What is taken for what", confusion, classes, trainings=trainings, caption=f"{answers} on {images}."
    )
    wrong = int((probabilities.argmax(axis=1) != test.labels).sum())
    surest = most_confident_errors(test, classes, probabilities)
    shown = "all of them" if len(surest) == wrong else f"the surest {len(surest)}"
    gallery = ErrorGallery(
        "Most confidently wrong",
        surest,
        f"{averaged}, {wrong} of {images} are wrong; {shown}: the true class → the answer, and its probability.",
    )
    return Section(f"Where {model} errs", [Columns([matrix, gallery])])


def command(**options: object) -> str:
    """What was typed, or would have been: an option that is None was not given."""
    given = [
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in options.items() if value is not None
    ]
    return " ".join(["mixlab compare", *given])
