"""The report of a comparison of published weights: the recommendation and its limits first, then the evidence."""

import shlex

import tomli_w

from mixlab.comparison.compare_pretrained import default_weights
from mixlab.comparison.methods import of_pretrained
from mixlab.comparison.pretrained_comparison import WARNING, PretrainedComparison
from mixlab.comparison.pretrained_tables import choice_table, heads_table, pairs_table
from mixlab.comparison.recommendation_page import (
    bounds_figure,
    command,
    errors_section,
    recommendation_summary,
    score_axis,
    score_cost_figure,
    significance_section,
)
from mixlab.report.axes import Axis
from mixlab.report.forest_plot import dot_plot
from mixlab.report.machine import machine_facts
from mixlab.report.page import Code, KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.stats.estimate import Estimate
from mixlab.tasks.classification import CLASSIFICATION


def pretrained_page(comparison: PretrainedComparison) -> Page:
    weights = f"{len(comparison.names)} published weights"
    return Page(
        title=f"Which weights for {comparison.data}?",
        kicker=f"mixlab compare: {weights}, {comparison.test_samples} {comparison.evaluation_scheme}",
        summary=_summary(comparison),
        sections=[
            Section("Weights, not architectures", [WARNING, _provenance(comparison), *_selection_rule(comparison)]),
            Section("Results", [choice_table(comparison), bounds_figure(comparison)]),
            _next_steps(comparison),
            _significance(comparison),
            _costs(comparison),
            _errors(comparison),
            _run_details(comparison),
        ],
        footer=written_by(comparison.environment["versions"]["mixlab"]),
    )


def _summary(comparison: PretrainedComparison) -> Summary:
    chosen = comparison.chosen
    costs = [
        Metric("Inference speed", chosen.images_per_second, 1),
        Metric("Parameters", Estimate.exact(chosen.parameters / 1e6, "M")),
    ]
    return recommendation_summary(comparison, costs)


def _provenance(comparison: PretrainedComparison) -> KeyValues:
    return KeyValues({result.name: result.provenance for result in comparison.model_results})


def _selection_rule(comparison: PretrainedComparison) -> list[str]:
    if comparison.names != default_weights():
        return []
    return [
        "These are the default weights: for each family, the ImageNet-1k weights with the highest accuracy for their "
        "multiply-accumulates, and a well-known residual network for reference."
    ]


def _next_steps(comparison: PretrainedComparison) -> Section:
    data, chosen = shlex.quote(comparison.dataset.name), shlex.quote(comparison.chosen.name)
    return Section(
        f"How to train {comparison.chosen.name}",
        [
            "To fit the head that was evaluated, save this recipe and run `mixlab train head.toml`. The features of "
            f"the {comparison.dataset.noun}s are cached on this machine, so it is fast.",
            Code(tomli_w.dumps(comparison.head_recipe)),
            "To fine-tune the whole model, which is slow without a GPU:",
            Code(f"mixlab train --data {data} --model {chosen}"),
        ],
    )


def _significance(comparison: PretrainedComparison) -> Section:
    in_folds, noun = comparison.cv_folds.count > 1, comparison.dataset.noun
    folds = "Small marks: single folds. " if in_folds else ""
    top1 = dot_plot(
        "Accuracy by model",
        {result.name: result.cross_validation.top1_of_rounds if in_folds else [] for result in comparison.ranked},
        {result.name: result.mean_score for result in comparison.ranked},
        score_axis(CLASSIFICATION.sample_score),
        models=comparison.names,
        baselines=comparison.baselines,
        caption=f"Large marks: the accuracy on all evaluated {noun}s, with its 95 % interval over {noun}s. "
        f"{folds}Grey lines, or arrows towards them: the baselines.",
    )
    differences = {pair: comparison.difference(pair) for pair in comparison.ranking.pairs}
    section = significance_section(comparison, top1, differences, pairs_table(comparison))
    return Section(section.heading, [comparison.uncertainty_note, *section.blocks])


def _costs(comparison: PretrainedComparison) -> Section:
    ranked, noun = comparison.ranked, comparison.dataset.noun
    costs = {
        Axis("Inference", f"{noun}s/s", "higher"): {result.name: result.images_per_second for result in ranked},
        Axis("MACs", "G", "lower"): {result.name: Estimate.exact(result.macs / 1e9, "G") for result in ranked},
        Axis("Parameters", "M", "lower"): {
            result.name: Estimate.exact(result.parameters / 1e6, "M") for result in ranked
        },
    }
    return Section("Cost", [score_cost_figure(comparison, costs), heads_table(comparison)])


def _errors(comparison: PretrainedComparison) -> Section:
    chosen = comparison.chosen
    evaluation = chosen.cross_validation.evaluation(comparison.dataset.classes)
    return errors_section(
        chosen.name,
        comparison.evaluated_split,
        evaluation,
        evaluation.confusion,
        trainings=1,
        counted="Predictions",
        predicted=f"Evaluated {comparison.evaluation_scheme}",
    )


def _run_details(comparison: PretrainedComparison) -> Section:
    dataset = comparison.dataset
    images, evaluated = len(comparison.cv_folds.images.split), len(comparison.cv_folds.evaluated)
    facts = {
        "Data": f"{dataset.name}: {len(dataset.classes):,} classes, {images:,} {dataset.noun}s; {evaluated:,} are "
        f"evaluated {comparison.evaluation_scheme}",
        "Fingerprint": dataset.fingerprint,
    } | machine_facts(comparison.environment)
    notes = list(dataset.notes)
    if dataset.split_by_mixlab and comparison.cv_folds.count > 1:
        notes.append(f"All splits were merged before the {dataset.noun}s were assigned to folds.")
    digests = {
        result.name: f"SHA-256 of the tensors {result.backbone.weights.digest}" for result in comparison.model_results
    }
    repeat = ["To repeat the comparison:", Code(repeating_command(comparison))]
    paper = of_pretrained(comparison).blocks()
    return Section("Run details", [*notes, *paper, KeyValues(facts), KeyValues(digests), *repeat])


def repeating_command(comparison: PretrainedComparison) -> str:
    """The command line that repeats the comparison."""
    return command(
        data=comparison.dataset.name,
        models=",".join(comparison.names),
        folds=comparison.requested_folds,
        margin=f"{comparison.margin:g}",
    )
