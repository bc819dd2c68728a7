"""The report of a comparison: the answer first, with its uncertainty, then what stands behind it."""

import shlex
from datetime import date

import numpy as np
import tomli_w

from mixlab.evidence.estimate import Estimate
from mixlab.report.axes import Axis
from mixlab.report.confusion import confusion_matrix
from mixlab.report.curves import learning_curves
from mixlab.report.numbers import number
from mixlab.report.page import Answer, Beside, Block, Code, Details, Facts, KeyFigure, Page, Section
from mixlab.report.pictures import Mistake, Mistakes
from mixlab.report.rows import pair_intervals, seed_points
from mixlab.report.tradeoff import trade_off
from mixlab.studies.comparison import Comparison, counted
from mixlab.studies.comparison_tables import choice_table, costs_table, pairs_table, tuned_for

_ACCURACY = Axis("Top-1", "%", "higher", digits=1)
_MISTAKES = 12


def compare_page(comparison: Comparison) -> Page:
    models = f"{len(comparison.names)} models, {comparison.seeds} each, {comparison.test_pictures}"
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
        footer=f"Written by mixlab {comparison.environment['versions']['mixlab']} on {date.today():%Y-%m-%d}.",
    )


def _answer(comparison: Comparison) -> Answer:
    taken, closest = comparison.taken, comparison.closest
    ahead = closest.a == taken.name
    return Answer(
        comparison.answer,
        " ".join([_worth(comparison), comparison.detectable, _yardsticks(comparison)]),
        [
            KeyFigure(f"Top-1 of {taken.name}", taken.top1, 1),
            KeyFigure(f"Ahead of {closest.b}" if ahead else f"Behind {closest.a}", closest.estimate, 2),
            KeyFigure("It answers", taken.images_per_second, 0),
            KeyFigure("One training of it", taken.training_seconds),
            KeyFigure("Its parameters", Estimate.exact(taken.contender.parameters / 1e6, "M")),
        ],
    )


def _worth(comparison: Comparison) -> str:
    """How sure the answer is: the pair that comes closest to another one."""
    closest = comparison.closest
    p = "p < 0.001" if closest.difference.p < 0.001 else f"p = {closest.difference.p:.2g}"
    nearest, chance = (
        ("", "chance alone could have made it")
        if comparison.verdict.recommended is None
        else (", the next best,", "more than chance makes")
    )
    difference = number(closest.difference.difference, 2)
    return f"{closest.a} and {closest.b}{nearest} are {difference} points apart: {chance} ({p})."


def _yardsticks(comparison: Comparison) -> str:
    reached = (f"{name} {number(estimate.value, 1)} %" for name, estimate in comparison.yardsticks.items())
    return f"Yardsticks that train nothing: {', '.join(reached)}."


def _more_than_chance(comparison: Comparison) -> Section:
    verdict = comparison.verdict
    seeds = seed_points(
        "Every training",
        {one.name: [training.top1 for training in one.trained] for one in comparison.ranked},
        {one.name: one.top1 for one in comparison.ranked},
        _ACCURACY,
        models=comparison.names,
        yardsticks=comparison.yardsticks,
        caption="The large mark is a model's mean with its 95 % interval over seeds and test pictures; each small mark "
        "is one training. Grey lines, or arrows to them, are the yardsticks.",
    )
    pairs = pair_intervals(
        "Every pair",
        {(pair.a, pair.b): pair.estimate for pair in verdict.pairs},
        Axis("Difference", "points", digits=1),
        told_apart=[(pair.a, pair.b) for pair in verdict.pairs if pair.is_told_apart],
        detectable=min(verdict.detectable, 100.0),
        caption="How much higher the first model's mean is, with 95 % intervals, both models on the same pictures. "
        "Filled marks: told apart, since the interval excludes 0.",
    )
    table = pairs_table(comparison)
    blocks: list[Block] = (
        [Beside([seeds, pairs]), table]
        if len(pairs.panels) == 1
        else [seeds, pairs, Details(f"The {len(table.rows)} pairs as a table", [table])]
    )
    return Section("More than chance?", blocks)


def _costs(comparison: Comparison) -> Section:
    ranked = comparison.ranked
    figure = trade_off(
        "Accuracy against cost",
        {one.name: one.top1 for one in ranked},
        _ACCURACY,
        {
            Axis("Inference", "images/s", "higher"): {one.name: one.images_per_second for one in ranked},
            Axis("One training", "device seconds", "lower"): {one.name: one.training_seconds for one in ranked},
            Axis("Parameters", "M", "lower"): {
                one.name: Estimate.exact(one.contender.parameters / 1e6, "M") for one in ranked
            },
        },
        models=comparison.names,
        caption="Means with 95 % intervals in both directions; arrows point to the better side.",
    )
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
        "end. This is the loss on augmented training pictures: the test pictures are read once, after the last epoch, "
        "so they have no curve.",
    )
    return Section("How they learned", [figure])


def _mistakes(comparison: Comparison) -> Section:
    taken, test = comparison.taken, comparison.dataset.parts["test"]
    classes = comparison.dataset.classes
    matrix = confusion_matrix(
        "What is taken for what",
        taken.confusion,
        classes,
        trainings=comparison.terms.seeds,
        caption=f"Answers of {comparison.seeds} on {comparison.test_pictures}, added up.",
    )
    probabilities = taken.mean_probabilities
    predicted, labels = probabilities.argmax(axis=1), test.labels
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:_MISTAKES]
    pictures = [
        Mistake(
            test.image(picture),
            test.names[picture],
            classes[labels[picture]],
            classes[predicted[picture]],
            float(probabilities[picture, predicted[picture]]),
        )
        for picture in surest
    ]
    shown = "all of them" if len(surest) == len(wrong) else f"the surest {len(surest)}"
    gallery = Mistakes(
        "Most confidently wrong",
        pictures,
        f"With the mean probabilities of {comparison.seeds}, {len(wrong)} of {comparison.test_pictures} are wrong; "
        f"{shown}: the true class → the answer, and its probability.",
    )
    return Section(f"Where {taken.name} errs", [Beside([matrix, gallery])])


def _what_ran(comparison: Comparison) -> Section:
    environment, dataset = comparison.environment, comparison.dataset
    counts = ", ".join(f"{len(part):,} {name}" for name, part in dataset.parts.items())
    facts = {
        "Budget": _budget(comparison),
        "Data": f"{dataset.name}: {len(dataset.classes):,} classes, {counts} pictures (validation is part of train)",
        "Fingerprint": dataset.fingerprint,
        "Device": f"{environment['device']}, {counted(environment['threads'], 'thread')}, "
        f"{environment['memory_bytes'] / 2**30:.0f} GiB of memory",
        "System": environment["system"],
        "Versions": ", ".join(f"{package} {version}" for package, version in environment["versions"].items()),
        "Commit": environment["commit"] or "installed without a repository",
    }
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
    options = {
        "data": comparison.dataset.name,
        "models": ",".join(comparison.names),
        "seeds": terms.seeds,
        "epochs": terms.epochs,
        "minutes": terms.minutes,
        "image-size": size,
        "match": terms.match,
    }
    given = [f"--{name} {shlex.quote(str(value))}" for name, value in options.items() if value is not None]
    return " ".join(["mixlab compare", *given])
