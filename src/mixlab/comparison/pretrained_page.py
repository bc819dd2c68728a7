"""The report of a comparison of published weights: the answer, what it does not say, then what stands behind it."""

import shlex

import tomli_w

from mixlab.comparison.compare_pretrained import default_weights
from mixlab.comparison.pretrained_comparison import HOW_SURE, WARNING, PretrainedComparison
from mixlab.comparison.pretrained_tables import choice_table, heads_table, pairs_table
from mixlab.comparison.recommendation_page import (
    ACCURACY,
    accuracy_cost_figure,
    command,
    mistakes,
    recommendation_summary,
    significance_section,
)
from mixlab.report.axes import Axis
from mixlab.report.forest_plot import dot_plot
from mixlab.report.machine import machine_facts
from mixlab.report.page import Code, KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.stats.estimate import Estimate


def pretrained_page(comparison: PretrainedComparison) -> Page:
    return Page(
        title=f"Which weights for {comparison.data}?",
        kicker=f"mixlab compare: {len(comparison.names)} published weights, {comparison.test_images} {comparison.way}",
        answer=_summary(comparison),
        sections=[
            Section("Weights, not architectures", [WARNING, _provenance(comparison), *_rule(comparison)]),
            Section("What to choose by", [choice_table(comparison)]),
            _how_to_get_it(comparison),
            _significance(comparison),
            _costs(comparison),
            _mistakes(comparison),
            _run_details(comparison),
        ],
        footer=written_by(comparison.environment["versions"]["mixlab"]),
    )


def _summary(comparison: PretrainedComparison) -> Summary:
    recommendation, chosen = comparison.recommendation, comparison.chosen
    costs = [
        Metric("It answers", chosen.images_per_second, 1),
        Metric("Its parameters", Estimate.exact(chosen.parameters / 1e6, "M")),
    ]
    return recommendation_summary(
        recommendation, comparison.detectable, comparison.difference(recommendation.closest_pair), costs
    )


def _provenance(comparison: PretrainedComparison) -> KeyValues:
    return KeyValues({one.name: one.provenance for one in comparison.model_results})


def _rule(comparison: PretrainedComparison) -> list[str]:
    if comparison.names != default_weights():
        return []
    return [
        "These were chosen by rule: of each family's ImageNet-1k weights those with the most accuracy there for their "
        "multiply-accumulates, and a residual network, which everybody knows."
    ]


def _how_to_get_it(comparison: PretrainedComparison) -> Section:
    data, chosen = shlex.quote(comparison.dataset.name), shlex.quote(comparison.chosen.name)
    return Section(
        f"To have {comparison.chosen.name}",
        [
            "The head that was judged here: `mixlab train head.toml` with this file. What the backbone sees of the "
            "images is kept on this machine, so it takes a moment.",
            Code(tomli_w.dumps(comparison.head_recipe)),
            "Or all of it fine-tuned, which takes a GPU or patience:",
            Code(f"mixlab train --data {data} --model {chosen}"),
        ],
    )


def _significance(comparison: PretrainedComparison) -> Section:
    in_folds = comparison.cv_folds.count > 1
    marks = "each small mark is one fold. " if in_folds else ""
    top1 = dot_plot(
        "Every model",
        {one.name: one.answers.top1_of_rounds if in_folds else [] for one in comparison.ranked},
        {one.name: one.top1 for one in comparison.ranked},
        ACCURACY,
        models=comparison.names,
        baselines=comparison.baselines,
        caption=f"The large mark is the share of all judged images, with its 95 % interval over images; {marks}"
        "Grey lines, or arrows to them, are the yardsticks.",
    )
    differences = {pair: comparison.difference(pair) for pair in comparison.ranking.pairs}
    section = significance_section(top1, comparison.ranking, differences, pairs_table(comparison))
    return Section(section.heading, [HOW_SURE, *section.blocks])


def _costs(comparison: PretrainedComparison) -> Section:
    ranked = comparison.ranked
    costs = {
        Axis("Inference", "images/s", "higher"): {one.name: one.images_per_second for one in ranked},
        Axis("MACs", "G", "lower"): {one.name: Estimate.exact(one.macs / 1e9, "G") for one in ranked},
        Axis("Parameters", "M", "lower"): {one.name: Estimate.exact(one.parameters / 1e6, "M") for one in ranked},
    }
    figure = accuracy_cost_figure(costs, {one.name: one.top1 for one in ranked}, comparison.names)
    return Section("What it costs", [figure, heads_table(comparison)])


def _mistakes(comparison: PretrainedComparison) -> Section:
    chosen = comparison.chosen
    return mistakes(
        chosen.name,
        comparison.evaluated,
        chosen.answers.probabilities,
        comparison.dataset.classes,
        chosen.answers.confusion,
        trainings=1,
        answers="Answers",
        averaged=f"Judged {comparison.way}",
    )


def _run_details(comparison: PretrainedComparison) -> Section:
    dataset = comparison.dataset
    facts = {
        "Data": f"{dataset.name}: {len(dataset.classes):,} classes, {len(comparison.cv_folds.images.split):,} "
        f"images, of which {len(comparison.cv_folds.evaluated):,} are judged {comparison.way}",
        "Fingerprint": dataset.fingerprint,
    } | machine_facts(comparison.environment)
    notes = list(dataset.notes)
    if dataset.split_by_mixlab and comparison.cv_folds.count > 1:
        notes.append("For the folds all parts were put together again.")
    weights = {one.name: f"SHA-256 of the tensors {one.backbone.weights.digest}" for one in comparison.model_results}
    again = command(data=dataset.name, models=",".join(comparison.names), folds=comparison.folds)
    return Section(
        "What ran",
        [*notes, KeyValues(facts), KeyValues(weights), "To run it again:", Code(again)],
    )
