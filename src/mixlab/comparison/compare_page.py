"""The report of a comparison of trained models: the recommendation first, then the evidence."""

import tomli_w

from mixlab.comparison.comparison import Comparison
from mixlab.comparison.comparison_tables import choice_table, costs_table, pairs_table, tuned_for
from mixlab.comparison.recommendation_page import (
    ACCURACY,
    accuracy_cost_figure,
    bounds_figure,
    command,
    errors_section,
    recommendation_summary,
    significance_section,
)
from mixlab.comparison.tuning_page import tuning_sections
from mixlab.report.axes import Axis
from mixlab.report.curves import learning_curves
from mixlab.report.forest_plot import dot_plot
from mixlab.report.machine import machine_facts
from mixlab.report.page import Code, Details, KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.report.text import pluralize
from mixlab.stats.estimate import Estimate


def compare_page(comparison: Comparison) -> Page:
    models = f"{len(comparison.names)} models, {comparison.seeds} each, {comparison.test_images}"
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
            _errors(comparison),
            _run_details(comparison),
        ],
        footer=written_by(comparison.environment["versions"]["mixlab"]),
    )


def _summary(comparison: Comparison) -> Summary:
    chosen = comparison.chosen
    costs = [
        Metric("Inference speed", chosen.images_per_second, 0),
        Metric("Time of one training", chosen.training_seconds),
        Metric("Parameters", Estimate.exact(chosen.candidate.parameters / 1e6, "M")),
    ]
    return recommendation_summary(comparison, costs)


def _significance(comparison: Comparison) -> Section:
    top1 = dot_plot(
        "Accuracy by seed",
        {result.name: [training.top1 for training in result.trained] for result in comparison.ranked},
        {result.name: result.top1 for result in comparison.ranked},
        ACCURACY,
        models=comparison.names,
        baselines=comparison.baselines,
        caption="Large marks: the mean of a model with its 95 % interval over seeds and test images. Small marks: "
        "single trainings. Grey lines, or arrows towards them: the baselines.",
    )
    differences = {pair: pair.difference.estimate for pair in comparison.ranking.pairs}
    return significance_section(comparison, top1, differences, pairs_table(comparison))


def _costs(comparison: Comparison) -> Section:
    ranked = comparison.ranked
    costs = {
        Axis("Inference", "images/s", "higher"): {result.name: result.images_per_second for result in ranked},
        Axis("One training", "device seconds", "lower"): {result.name: result.training_seconds for result in ranked},
        Axis("Parameters", "M", "lower"): {
            result.name: Estimate.exact(result.candidate.parameters / 1e6, "M") for result in ranked
        },
    }
    return Section("Cost", [accuracy_cost_figure(comparison, costs), costs_table(comparison)])


def _learning(comparison: Comparison) -> Section:
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
        "last epoch. This is the loss on augmented training images: the test images are used once, after the last "
        "epoch, so they have no curve.",
    )
    return Section("Learning curves", [figure])


def _errors(comparison: Comparison) -> Section:
    chosen = comparison.chosen
    return errors_section(
        chosen.name,
        comparison.dataset.splits["test"],
        chosen.trained[0].evaluation,
        chosen.confusion,
        trainings=comparison.settings.seeds,
        counted=f"Predictions of {comparison.seeds}, summed,",
        predicted="With the first seed",
    )


def _run_details(comparison: Comparison) -> Section:
    environment, dataset = comparison.environment, comparison.dataset
    counts = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    facts = {
        "Budget": _budget(comparison),
        "Data": f"{dataset.name}: {len(dataset.classes):,} classes, {counts} images (validation merged into train)",
        "Fingerprint": dataset.fingerprint,
    } | machine_facts(environment)
    recipes = [
        Details(
            f"{result.name}: recipe {result.candidate.recipe_name}, tuned for {tuned_for(result)}",
            [Code(tomli_w.dumps(result.candidate.job.recipe.to_dict(), multiline_strings=True))],
        )
        for result in comparison.model_results
    ]
    return Section(
        "Run details",
        [*dataset.notes, KeyValues(facts), "To repeat the comparison:", Code(_command(comparison)), *recipes],
    )


def _budget(comparison: Comparison) -> str:
    settings, first = comparison.settings, comparison.names[0]
    if settings.match == "seconds":
        length = f"as many seconds of training as {first}"
    elif settings.minutes is not None:
        length = f"{settings.minutes:g} minutes for the whole comparison, shared equally"
    else:
        length = pluralize(comparison[first].candidate.job.recipe.epochs or 0, "epoch")
    scaled = f"; widths scaled to the {settings.match} of {first}" if settings.match in ("parameters", "macs") else ""
    return f"{comparison.seeds} of each model, {length}{scaled}"


def _command(comparison: Comparison) -> str:
    settings = comparison.settings
    size = "x".join(map(str, settings.image_size)) if isinstance(settings.image_size, tuple) else settings.image_size
    return command(
        data=comparison.dataset.name,
        models=",".join(comparison.names),
        seeds=settings.seeds,
        epochs=settings.epochs,
        minutes=settings.minutes,
        image_size=size,
        match=settings.match,
        tune=settings.tune,
        margin=f"{comparison.margin:g}",
    )
