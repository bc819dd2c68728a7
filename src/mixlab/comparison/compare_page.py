"""The report of a comparison: the answer first, with its uncertainty, then what stands behind it."""

import tomli_w

from mixlab.comparison.comparison import Comparison
from mixlab.comparison.comparison_tables import choice_table, costs_table, pairs_table, tuned_for
from mixlab.comparison.recommendation_page import (
    ACCURACY,
    accuracy_cost_figure,
    command,
    mistakes,
    recommendation_summary,
    significance_section,
)
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
        answer=_summary(comparison),
        sections=[
            Section("What to choose by", [choice_table(comparison)]),
            _significance(comparison),
            _costs(comparison),
            _learning(comparison),
            _mistakes(comparison),
            _run_details(comparison),
        ],
        footer=written_by(comparison.environment["versions"]["mixlab"]),
    )


def _summary(comparison: Comparison) -> Summary:
    chosen = comparison.chosen
    costs = [
        Metric("It answers", chosen.images_per_second, 0),
        Metric("One training of it", chosen.training_seconds),
        Metric("Its parameters", Estimate.exact(chosen.candidate.parameters / 1e6, "M")),
    ]
    return recommendation_summary(
        comparison.recommendation, comparison.detectable, comparison.recommendation.closest_pair.estimate, costs
    )


def _significance(comparison: Comparison) -> Section:
    seeds = dot_plot(
        "Every training",
        {one.name: [training.top1 for training in one.trained] for one in comparison.ranked},
        {one.name: one.top1 for one in comparison.ranked},
        ACCURACY,
        models=comparison.names,
        baselines=comparison.baselines,
        caption="The large mark is a model's mean with its 95 % interval over seeds and test images; each small mark "
        "is one training. Grey lines, or arrows to them, are the yardsticks.",
    )
    differences = {pair: pair.estimate for pair in comparison.ranking.pairs}
    return significance_section(seeds, comparison.ranking, differences, pairs_table(comparison))


def _costs(comparison: Comparison) -> Section:
    ranked = comparison.ranked
    costs = {
        Axis("Inference", "images/s", "higher"): {one.name: one.images_per_second for one in ranked},
        Axis("One training", "device seconds", "lower"): {one.name: one.training_seconds for one in ranked},
        Axis("Parameters", "M", "lower"): {
            one.name: Estimate.exact(one.candidate.parameters / 1e6, "M") for one in ranked
        },
    }
    figure = accuracy_cost_figure(costs, {one.name: one.top1 for one in ranked}, comparison.names)
    return Section("What it costs", [figure, costs_table(comparison)])


def _learning(comparison: Comparison) -> Section:
    figure = learning_curves(
        "Training loss",
        {
            one.name: [
                ([epoch["epoch"] for epoch in training.epochs], [epoch["train"]["loss"] for epoch in training.epochs])
                for training in one.trained
            ]
            for one in comparison.ranked
        },
        models=comparison.names,
        x=Axis("Epoch", digits=0),
        y=Axis("Training loss", "nats", "lower", digits=2),
        caption="A line is one seed, the other models' means stand behind in grey, and the number is the mean at the "
        "end. This is the loss on augmented training images: the test images are read once, after the last epoch, "
        "so they have no curve.",
    )
    return Section("How they learned", [figure])


def _mistakes(comparison: Comparison) -> Section:
    chosen = comparison.chosen
    return mistakes(
        chosen.name,
        comparison.dataset.splits["test"],
        chosen.mean_probabilities,
        comparison.dataset.classes,
        chosen.confusion,
        trainings=comparison.settings.seeds,
        answers=f"Answers of {comparison.seeds}, added up,",
        averaged=f"With the mean probabilities of {comparison.seeds}",
    )


def _run_details(comparison: Comparison) -> Section:
    environment, dataset = comparison.environment, comparison.dataset
    counts = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    facts = {
        "Budget": _budget(comparison),
        "Data": f"{dataset.name}: {len(dataset.classes):,} classes, {counts} images (validation is part of train)",
        "Fingerprint": dataset.fingerprint,
    } | machine_facts(environment)
    recipes = [
        Details(
            f"{one.name}: recipe {one.candidate.recipe_name}, tuned for {tuned_for(one)}",
            [Code(tomli_w.dumps(one.candidate.job.recipe.to_dict(), multiline_strings=True))],
        )
        for one in comparison.model_results
    ]
    return Section(
        "What ran", [*dataset.notes, KeyValues(facts), "To run it again:", Code(_command(comparison)), *recipes]
    )


def _budget(comparison: Comparison) -> str:
    settings, first = comparison.settings, comparison.names[0]
    if settings.match == "seconds":
        length = f"as many seconds of training as {first} took"
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
    )
