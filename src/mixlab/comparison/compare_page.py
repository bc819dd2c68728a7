"""The report of a comparison: the answer first, with its uncertainty, then what stands behind it."""

import tomli_w

from mixlab.comparison.comparison import Comparison
from mixlab.comparison.comparison_tables import choice_table, costs_table, pairs_table, tuned_for
from mixlab.comparison.recommendation_page import (
    ACCURACY,
    accuracy_against,
    chosen,
    command,
    mistakes,
    more_than_chance,
)
from mixlab.report.axes import Axis
from mixlab.report.curves import learning_curves
from mixlab.report.forest_plot import seed_points
from mixlab.report.machine import machine_facts
from mixlab.report.page import Answer, Code, Details, Facts, KeyFigure, Page, Section, written_by
from mixlab.report.text import counted
from mixlab.stats.estimate import Estimate


def compare_page(comparison: Comparison) -> Page:
    models = f"{len(comparison.names)} models, {comparison.seeds} each, {comparison.test_images}"
    return Page(
        title=f"Which model for {comparison.data}?",
        kicker=f"mixlab compare: {models}",
        answer=_answer(comparison),
        sections=[
            Section("What to choose by", [choice_table(comparison)]),
            _more_than_chance(comparison),
            _costs(comparison),
            _learning(comparison),
            _mistakes(comparison),
            _what_ran(comparison),
        ],
        footer=written_by(comparison.environment["versions"]["mixlab"]),
    )


def _answer(comparison: Comparison) -> Answer:
    taken = comparison.taken
    costs = [
        KeyFigure("It answers", taken.images_per_second, 0),
        KeyFigure("One training of it", taken.training_seconds),
        KeyFigure("Its parameters", Estimate.exact(taken.contender.parameters / 1e6, "M")),
    ]
    return chosen(comparison.choice, comparison.detectable, comparison.choice.closest.estimate, costs)


def _more_than_chance(comparison: Comparison) -> Section:
    seeds = seed_points(
        "Every training",
        {one.name: [training.top1 for training in one.trained] for one in comparison.ranked},
        {one.name: one.top1 for one in comparison.ranked},
        ACCURACY,
        models=comparison.names,
        yardsticks=comparison.yardsticks,
        caption="The large mark is a model's mean with its 95 % interval over seeds and test images; each small mark "
        "is one training. Grey lines, or arrows to them, are the yardsticks.",
    )
    differences = {pair: pair.estimate for pair in comparison.verdict.pairs}
    return more_than_chance(seeds, comparison.verdict, differences, pairs_table(comparison))


def _costs(comparison: Comparison) -> Section:
    ranked = comparison.ranked
    costs = {
        Axis("Inference", "images/s", "higher"): {one.name: one.images_per_second for one in ranked},
        Axis("One training", "device seconds", "lower"): {one.name: one.training_seconds for one in ranked},
        Axis("Parameters", "M", "lower"): {
            one.name: Estimate.exact(one.contender.parameters / 1e6, "M") for one in ranked
        },
    }
    figure = accuracy_against(costs, {one.name: one.top1 for one in ranked}, comparison.names)
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
    taken = comparison.taken
    return mistakes(
        taken.name,
        comparison.dataset.parts["test"],
        taken.mean_probabilities,
        comparison.dataset.classes,
        taken.confusion,
        trainings=comparison.terms.seeds,
        answers=f"Answers of {comparison.seeds}, added up,",
        averaged=f"With the mean probabilities of {comparison.seeds}",
    )


def _what_ran(comparison: Comparison) -> Section:
    environment, dataset = comparison.environment, comparison.dataset
    counts = ", ".join(f"{len(part):,} {name}" for name, part in dataset.parts.items())
    facts = {
        "Budget": _budget(comparison),
        "Data": f"{dataset.name}: {len(dataset.classes):,} classes, {counts} images (validation is part of train)",
        "Fingerprint": dataset.fingerprint,
    } | machine_facts(environment)
    recipes = [
        Details(
            f"{one.name}: recipe {one.contender.recipe_name}, tuned for {tuned_for(one)}",
            [Code(tomli_w.dumps(one.contender.job.recipe.to_dict(), multiline_strings=True))],
        )
        for one in comparison.contestants
    ]
    return Section("What ran", [*dataset.notes, Facts(facts), "To run it again:", Code(_command(comparison)), *recipes])


def _budget(comparison: Comparison) -> str:
    terms, first = comparison.terms, comparison.names[0]
    if terms.match == "seconds":
        length = f"as many seconds of training as {first} took"
    elif terms.minutes is not None:
        length = f"{terms.minutes:g} minutes for the whole comparison, shared equally"
    else:
        length = counted(comparison[first].contender.job.recipe.epochs or 0, "epoch")
    scaled = f"; widths scaled to the {terms.match} of {first}" if terms.match in ("parameters", "macs") else ""
    return f"{comparison.seeds} of each model, {length}{scaled}"


def _command(comparison: Comparison) -> str:
    terms = comparison.terms
    size = "x".join(map(str, terms.image_size)) if isinstance(terms.image_size, tuple) else terms.image_size
    return command(
        data=comparison.dataset.name,
        models=",".join(comparison.names),
        seeds=terms.seeds,
        epochs=terms.epochs,
        minutes=terms.minutes,
        image_size=size,
        match=terms.match,
    )
