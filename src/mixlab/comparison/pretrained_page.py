"""The report of a comparison of published weights: the answer, what it does not say, then what stands behind it."""

import shlex

import tomli_w

from mixlab.comparison.compare_pretrained import usual_weights
from mixlab.comparison.pretrained_comparison import HOW_SURE, WARNING, PublishedComparison
from mixlab.comparison.pretrained_tables import choice_table, heads_table, pairs_table
from mixlab.comparison.recommendation_page import (
    ACCURACY,
    accuracy_against,
    chosen,
    command,
    mistakes,
    more_than_chance,
)
from mixlab.report.axes import Axis
from mixlab.report.forest_plot import seed_points
from mixlab.report.machine import machine_facts
from mixlab.report.page import Answer, Code, Facts, KeyFigure, Page, Section, written_by
from mixlab.stats.estimate import Estimate


def published_page(comparison: PublishedComparison) -> Page:
    return Page(
        title=f"Which weights for {comparison.data}?",
        kicker=f"mixlab compare: {len(comparison.names)} published weights, {comparison.test_images} {comparison.way}",
        answer=_answer(comparison),
        sections=[
            Section("Weights, not architectures", [WARNING, _provenance(comparison), *_rule(comparison)]),
            Section("What to choose by", [choice_table(comparison)]),
            _to_have_it(comparison),
            _more_than_chance(comparison),
            _costs(comparison),
            _mistakes(comparison),
            _what_ran(comparison),
        ],
        footer=written_by(comparison.environment["versions"]["mixlab"]),
    )


def _answer(comparison: PublishedComparison) -> Answer:
    choice, taken = comparison.choice, comparison.taken
    costs = [
        KeyFigure("It answers", taken.images_per_second, 1),
        KeyFigure("Its parameters", Estimate.exact(taken.parameters / 1e6, "M")),
    ]
    return chosen(choice, comparison.detectable, comparison.difference(choice.closest), costs)


def _provenance(comparison: PublishedComparison) -> Facts:
    return Facts({one.name: one.provenance for one in comparison.contestants})


def _rule(comparison: PublishedComparison) -> list[str]:
    if comparison.names != usual_weights():
        return []
    return [
        "These were chosen by rule: of each family's ImageNet-1k weights those with the most accuracy there for their "
        "multiply-accumulates, and a residual network, which everybody knows."
    ]


def _to_have_it(comparison: PublishedComparison) -> Section:
    data, taken = shlex.quote(comparison.dataset.name), shlex.quote(comparison.taken.name)
    return Section(
        f"To have {comparison.taken.name}",
        [
            "The head that was judged here: `mixlab train head.toml` with this file. What the backbone sees of the "
            "images is kept on this machine, so it takes a moment.",
            Code(tomli_w.dumps(comparison.head_recipe)),
            "Or all of it fine-tuned, which takes a GPU or patience:",
            Code(f"mixlab train --data {data} --model {taken}"),
        ],
    )


def _more_than_chance(comparison: PublishedComparison) -> Section:
    in_folds = comparison.judging.count > 1
    marks = "each small mark is one fold. " if in_folds else ""
    top1 = seed_points(
        "Every model",
        {one.name: one.answers.top1_of_rounds if in_folds else [] for one in comparison.ranked},
        {one.name: one.top1 for one in comparison.ranked},
        ACCURACY,
        models=comparison.names,
        yardsticks=comparison.yardsticks,
        caption=f"The large mark is the share of all judged images, with its 95 % interval over images; {marks}"
        "Grey lines, or arrows to them, are the yardsticks.",
    )
    differences = {pair: comparison.difference(pair) for pair in comparison.verdict.pairs}
    section = more_than_chance(top1, comparison.verdict, differences, pairs_table(comparison))
    return Section(section.heading, [HOW_SURE, *section.blocks])


def _costs(comparison: PublishedComparison) -> Section:
    ranked = comparison.ranked
    costs = {
        Axis("Inference", "images/s", "higher"): {one.name: one.images_per_second for one in ranked},
        Axis("MACs", "G", "lower"): {one.name: Estimate.exact(one.macs / 1e9, "G") for one in ranked},
        Axis("Parameters", "M", "lower"): {one.name: Estimate.exact(one.parameters / 1e6, "M") for one in ranked},
    }
    figure = accuracy_against(costs, {one.name: one.top1 for one in ranked}, comparison.names)
    return Section("What it costs", [figure, heads_table(comparison)])


def _mistakes(comparison: PublishedComparison) -> Section:
    taken = comparison.taken
    return mistakes(
        taken.name,
        comparison.judged,
        taken.answers.probabilities,
        comparison.dataset.classes,
        taken.answers.confusion,
        trainings=1,
        answers="Answers",
        averaged=f"Judged {comparison.way}",
    )


def _what_ran(comparison: PublishedComparison) -> Section:
    dataset = comparison.dataset
    facts = {
        "Data": f"{dataset.name}: {len(dataset.classes):,} classes, {len(comparison.judging.images.part):,} "
        f"images, of which {len(comparison.judging.judged):,} are judged {comparison.way}",
        "Fingerprint": dataset.fingerprint,
    } | machine_facts(comparison.environment)
    notes = list(dataset.notes)
    if dataset.cut_here and comparison.judging.count > 1:
        notes.append("For the folds all parts were put together again.")
    weights = {one.name: f"SHA-256 of the tensors {one.backbone.weights.digest}" for one in comparison.contestants}
    again = command(data=dataset.name, models=",".join(comparison.names), folds=comparison.folds)
    return Section(
        "What ran",
        [*notes, Facts(facts), Facts(weights), "To run it again:", Code(again)],
    )
