"""Sections that the reports of both kinds of comparison share: summary, significance, cost, errors, command line."""

import shlex
from collections.abc import Mapping, Sequence

from scipy.sparse import csr_array

from mixlab.comparison.compared import AnyComparison
from mixlab.comparison.ranking import Pair
from mixlab.comparison.recommendation import round_bound
from mixlab.data.dataset import Split
from mixlab.evaluation.confident_errors import most_confident_errors
from mixlab.evaluation.evaluation import Evaluation
from mixlab.report.axes import Axis
from mixlab.report.confusion import confusion_matrix
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import bound_plot, pair_forest_plot
from mixlab.report.image_grid import ErrorGallery
from mixlab.report.page import Block, Columns, Details, Metric, Section, Summary
from mixlab.report.table import Table
from mixlab.report.text import pluralize
from mixlab.report.tradeoff import trade_off
from mixlab.stats.estimate import Estimate
from mixlab.tasks.task import SampleScore


def score_axis(score: SampleScore) -> Axis:
    return Axis(capitalized(score.title), "%", "higher", digits=1)


def capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def recommendation_summary(comparison: AnyComparison, costs: Sequence[Metric]) -> Summary:
    """The recommendation and its numbers; `costs` are speed and size of the chosen model."""
    recommendation = comparison.recommendation
    chosen = recommendation.chosen
    bound = round_bound(recommendation.ranking.behind[chosen])
    title = capitalized(recommendation.score.title)
    return Summary(
        recommendation.conclusion,
        f"{comparison.detectable} {recommendation.baselines_text}",
        [
            Metric(f"{title} of {chosen}", recommendation.scores[chosen], 1),
            Metric("Behind the best, at most", Estimate.exact(bound, "points"), 2),
            *costs,
        ],
    )


def bounds_figure(comparison: AnyComparison) -> Figure:
    """How far each model is at most behind the best, with the margin."""
    ranking = comparison.ranking
    return bound_plot(
        "Behind the best, at most",
        {name: round_bound(points) for name, points in ranking.behind.items()},
        Axis("Behind the best, at most", "points", "lower", digits=2),
        margin=ranking.margin,
        models=comparison.names,
        notes=dict.fromkeys(ranking.unstable, "unstable"),
        caption="Each bar ends at the upper bound of a model, and the line is the margin; the bounds hold for all "
        f"models at once with 95 % confidence. {comparison.recommendation.unsupported}".rstrip(),
    )


def significance_section(
    comparison: AnyComparison, scores: Figure, differences: Mapping[Pair, Estimate], table: Table
) -> Section:
    """The scores of all models and the differences of all pairs.

    scores       the figure of the scores
    differences  in percentage points, for every pair
    table        the table of the pairs
    """
    ranking, score, noun = comparison.ranking, comparison.recommendation.score, comparison.recommendation.noun
    pairs = pair_forest_plot(
        "Pairwise differences",
        {(pair.a, pair.b): estimate for pair, estimate in differences.items()},
        Axis("Difference", "points", digits=1),
        significant=[(pair.a, pair.b) for pair in ranking.pairs if pair.is_significant],
        detectable=min(ranking.detectable, 100.0),
        caption=f"Mean {score.name} of the first model minus that of the second, on the same {noun}s, "
        "with 95 % intervals. Filled marks: significant differences (the interval excludes 0).",
    )
    blocks: list[Block] = (
        [Columns([scores, pairs]), table]
        if len(pairs.panels) == 1
        else [scores, pairs, Details(f"The {len(table.rows)} pairs as a table", [table])]
    )
    return Section("Significance", blocks)


def score_cost_figure(comparison: AnyComparison, costs: Mapping[Axis, Mapping[str, Estimate]]) -> Figure:
    """The score against each cost; `costs` maps an axis to one estimate for each model name."""
    score = comparison.recommendation.score
    return trade_off(
        f"{capitalized(score.name)} against cost",
        {model.name: model.mean_score for model in comparison.ranked},
        score_axis(score),
        costs,
        models=comparison.names,
        caption="Means with 95 % intervals in both directions; arrows point to the better side.",
    )


def errors_section(
    model: str,
    test: Split,
    evaluation: Evaluation,
    confusion: csr_array,
    *,
    trainings: int,
    counted: str,
    predicted: str,
) -> Section:
    """The confusion matrix of a model and its most confident errors.

    model       the name of the model
    test        the evaluated images
    evaluation  predictions for these images
    confusion   counts of the predictions of all trainings
    trainings   number of trainings that `confusion` counts
    counted     the predictions that `confusion` counts, for the caption: "Predictions"
    predicted   where `evaluation` comes from, for the caption: "With the first seed"
    """
    images = pluralize(len(test), "test image")
    matrix = confusion_matrix(
        "Confusion matrix", confusion, evaluation.classes, trainings=trainings, caption=f"{counted} on {images}."
    )
    wrong = int((~evaluation.correct).sum())
    errors = most_confident_errors(test, evaluation)
    shown = "all of them" if len(errors) == wrong else f"the {len(errors)} most confident"
    gallery = ErrorGallery(
        "Most confident errors",
        errors,
        f"{predicted}, {wrong} of {images} are wrong; {shown}: true class → predicted class, with its probability.",
    )
    return Section(f"Errors of {model}", [Columns([matrix, gallery])])


def command(**options: object) -> str:
    """The `mixlab compare` command line with these options; an option that is None is omitted."""
    arguments = [
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in options.items() if value is not None
    ]
    return " ".join(["mixlab compare", *arguments])
