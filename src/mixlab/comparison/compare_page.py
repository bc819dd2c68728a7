"""The report of a comparison of trained models: the recommendation first, then the evidence."""

import tomli_w

from mixlab.comparison.comparison import Comparison
from mixlab.comparison.comparison_tables import choice_table, costs_table, pairs_table, tuned_for
from mixlab.comparison.methods import of_trained
from mixlab.comparison.recommendation_page import (
    bounds_figure,
    capitalized,
    command,
    recommendation_summary,
    score_axis,
    score_cost_figure,
    significance_section,
)
from mixlab.comparison.tuning_page import tuning_sections
from mixlab.report.axes import Axis
from mixlab.report.curves import learning_curves
from mixlab.report.forest_plot import dot_plot
from mixlab.report.machine import machine_facts
from mixlab.report.page import Code, Details, KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.stats.estimate import Estimate
from mixlab.tasks.classification import CLASSIFICATION


def compare_page(comparison: Comparison) -> Page:
    models = f"{len(comparison.names)} models, {comparison.seeds} each, {comparison.test_samples}"
    return Page(
        title=f"Which model for {comparison.data}?",
        kicker=f"mixlab compare: {models}",
        summary=_summary(comparison),
        sections=[
            Section("Results", [choice_table(comparison), bounds_figure(comparison)]),
            _significance(comparison),
            _costs(comparison),
            _learning(comparison),
            *tuning_sections(comparison.tunings),
            comparison.compared.errors(comparison),
            _run_details(comparison),
        ],
        footer=written_by(comparison.environment["versions"]["mixlab"]),
    )


def _summary(comparison: Comparison) -> Summary:
    chosen = comparison.chosen
    metric = comparison.compared.metric
    costs = [
        *(
            [Metric(f"{metric.title} of {chosen.name}", chosen.set_metric, 1)]
            if metric is not None and chosen.set_metric is not None
            else []
        ),
        Metric("Inference speed", chosen.images_per_second, 0),
        Metric("Time of one training", chosen.training_seconds),
        Metric("Parameters", Estimate.exact(chosen.candidate.parameters / 1e6, "M")),
    ]
    return recommendation_summary(comparison, costs)


def _significance(comparison: Comparison) -> Section:
    score, noun = comparison.task.sample_score, comparison.dataset.noun
    scores = dot_plot(
        f"{capitalized(score.name)} by seed",
        {result.name: [training.mean_score for training in result.trained] for result in comparison.ranked},
        {result.name: result.mean_score for result in comparison.ranked},
        score_axis(score),
        models=comparison.names,
        baselines=comparison.baselines,
        caption="Large marks: the mean of a model with its 95 % interval over seeds and test "
        f"{noun}s. Small marks: single trainings. Grey lines, or arrows towards them: the baselines.",
    )
    differences = {pair: pair.difference.estimate for pair in comparison.ranking.pairs}
    return significance_section(comparison, scores, differences, pairs_table(comparison))


def _costs(comparison: Comparison) -> Section:
    ranked = comparison.ranked
    costs = {
        Axis("Inference", f"{comparison.dataset.noun}s/s", "higher"): {
            result.name: result.images_per_second for result in ranked
        },
        Axis("One training", "device seconds", "lower"): {result.name: result.training_seconds for result in ranked},
        Axis("Parameters", "M", "lower"): {
            result.name: Estimate.exact(result.candidate.parameters / 1e6, "M") for result in ranked
        },
    }
    return Section("Cost", [score_cost_figure(comparison, costs), costs_table(comparison)])


def _learning(comparison: Comparison) -> Section:
    noun = comparison.dataset.noun
    figure = learning_curves(
        "Training loss",
        {
            result.name: [
                ([epoch["epoch"] for epoch in training.epochs], [epoch["train"]["loss"] for epoch in training.epochs])
                for training in result.trained
            ]
            for result in comparison.ranked
        },
        models=comparison.names,
        x=Axis("Epoch", digits=0),
        y=Axis("Training loss", "nats", "lower", digits=2),
        caption="One line for each seed; the means of the other models are grey, and the number is the mean after the "
        f"last epoch. This is the loss on augmented training {noun}s: the test {noun}s are used once, after the last "
        "epoch, so they have no curve.",
    )
    return Section("Learning curves", [figure])


def _run_details(comparison: Comparison) -> Section:
    environment, dataset = comparison.environment, comparison.dataset
    counts = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    facts = {
        "Budget": _budget(comparison),
        "Data": f"{dataset.name}: {len(dataset.classes):,} classes, {counts} "
        f"{comparison.dataset.noun}s (validation merged into train)",
        "Fingerprint": dataset.fingerprint,
    } | machine_facts(environment)
    recipes = [
        Details(
            f"{result.name}: recipe {result.candidate.recipe_name}"
            + ("" if comparison.compared.settings_note else f", tuned for {tuned_for(result)}"),
            [Code(tomli_w.dumps(result.candidate.job.recipe.to_dict(), multiline_strings=True))],
        )
        for result in comparison.model_results
    ]
    return Section(
        "Run details",
        [
            *dataset.notes,
            *of_trained(comparison).blocks(),
            KeyValues(facts),
            "To repeat the comparison:",
            Code(repeating_command(comparison)),
            *recipes,
        ],
    )


def _budget(comparison: Comparison) -> str:
    scaled = f"; {comparison.scaling}" if comparison.scaling else ""
    return f"{comparison.seeds} of each model, {comparison.length}{scaled}"


def repeating_command(comparison: Comparison) -> str:
    """The command line that repeats the comparison."""
    settings = comparison.settings
    size = "x".join(map(str, settings.image_size)) if isinstance(settings.image_size, tuple) else settings.image_size
    return command(
        data=comparison.dataset.name,
        task=None if comparison.task is CLASSIFICATION else comparison.task.name,
        models=",".join(comparison.names),
        seeds=settings.seeds,
        epochs=settings.epochs,
        minutes=settings.minutes,
        image_size=size,
        match=settings.match,
        tune=settings.tune,
        margin=f"{comparison.margin:g}",
    )
