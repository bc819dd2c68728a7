"""Tables of a comparison of trained models: results, training cost, pairs. Each fits a terminal of 100 columns."""

from mixlab.benchmark.throughput import BATCH
from mixlab.comparison.compared import AnyComparison
from mixlab.comparison.comparison import Comparison, ModelResult
from mixlab.comparison.ranking import Pair
from mixlab.comparison.recommendation import round_bound
from mixlab.report.numbers import format_points
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import join_words, pluralize
from mixlab.training.recipes.recipe_files import read_recipe

_DESCRIPTIONS = {
    "resnet_nano": "timm's ResNet with a 3x3 stem of stride 1 and without max-pooling",
    "vit_nano": "timm's VisionTransformer with a patch size of 4",
}


def tables(comparison: Comparison) -> list[Table]:
    """All tables, in the order in which `mixlab compare` prints them."""
    return [choice_table(comparison), costs_table(comparison), pairs_table(comparison)]


def choice_table(comparison: Comparison) -> Table:
    """Score, speed and size of every model, best first, then the scores of the baselines."""
    score, metric, noun = comparison.task.sample_score, comparison.compared.metric, comparison.dataset.noun
    columns = [
        Column("model", "model"),
        Column(score.key, score.title, "%", digits=1),
        *([] if metric is None else [Column(metric.key, metric.title, "%", digits=1, uncertainty="interval")]),
        *bound_columns(comparison),
        Column("images_per_second", "inference", f"{noun}s/s", digits=0, uncertainty="interval"),
        Column("training_seconds", "training time", "s"),
        Column("parameters", "parameters", "M"),
        Column("macs", "MACs", "M"),
    ]
    rows: list[dict[str, Cell]] = [
        {
            "model": result.name,
            score.key: result.mean_score,
            **({} if metric is None else {metric.key: result.set_metric}),
            **bound_cells(comparison, result.name),
            "images_per_second": result.images_per_second,
            "training_seconds": result.training_seconds,
            "parameters": result.candidate.parameters / 1e6,
            "macs": result.candidate.macs / 1e6,
        }
        for result in comparison.ranked
    ]
    rows += [{"model": name, score.key: estimate} for name, estimate in comparison.baselines.items()]
    spread = "± is the standard deviation over seeds. " if comparison.settings.seeds > 1 else ""
    over = "seeds and " if comparison.settings.seeds > 1 else ""
    metric_scope = (
        f"an {score.name} over test {noun}s"
        if metric is None
        else f"{metric.title} over {over}test {noun}s, of the score of a baseline over test {noun}s"
    )
    notes = [
        *([score.meaning] if score.meaning else []),
        f"{spread}Brackets are 95 % intervals: of {metric_scope}, of inference over timing rounds of {BATCH} "
        f"{noun}s, in which the models take turns, on {comparison.environment['device']}.",
        *bound_notes(comparison, _bound_scope(comparison)),
        f"The validation {noun}s are merged into train, because nothing is selected: the settings are fixed, the "
        f"last weights are evaluated, and the test {noun}s are used once.",
        settings_note(comparison),
        *_concurrency_note(comparison),
        *(f"{name} is {_DESCRIPTIONS[name]}." for name in comparison.names if name in _DESCRIPTIONS),
    ]
    return Table(comparison.title, columns, rows, notes, models=comparison.names)


def _bound_scope(comparison: Comparison) -> str:
    match comparison.settings.seeds:
        case 1:
            return f", over test {comparison.dataset.noun}s only"
        case 2:
            return "; with 2 seeds, the confidence is lower"
        case _:
            return ""


def bound_columns(comparison: AnyComparison) -> list[Column]:
    """The columns of the bounds, and of the unstable models if there are any."""
    stability = [Column("stability", "over seeds")] if comparison.ranking.unstable else []
    return [Column("behind", "behind, at most", "points", digits=2), *stability]


def bound_cells(comparison: AnyComparison, name: str) -> dict[str, Cell]:
    """The cells of `bound_columns` for one model."""
    ranking = comparison.ranking
    stability = "unstable" if name in ranking.unstable else "stable"
    return {"behind": round_bound(ranking.behind[name]), "stability": stability}


def bound_notes(comparison: AnyComparison, scope: str) -> list[str]:
    """What the bounds mean; `scope` says what they do not cover, and is "" if they cover all that varies."""
    ranking, name = comparison.ranking, comparison.recommendation.score.name
    notes = [
        "Behind, at most: upper bounds on the distance to the best model, for all models at once with 95 % "
        f"confidence{scope}. The margin is {format_points(ranking.margin)}."
    ]
    if ranking.unstable:
        notes.append(
            f"Unstable: the {name} varies over seeds by more than the margin and by significantly more than that of "
            "the other models. An unstable model is not recommended, and counts as a possible best only if its mean "
            f"{name} is the highest."
        )
    return notes


def costs_table(comparison: Comparison) -> Table:
    """Training speed, training cost, peak memory and compute modes of every model, best first."""
    columns = [
        Column("model", "model"),
        Column("train_images_per_second", "training", f"{comparison.dataset.noun}s/s", digits=0),
        Column("training_macs", "training", "TMACs"),
        Column("peak", "peak memory", "MiB", digits=0),
        Column("training_mode", "training mode"),
        Column("inference_mode", "inference mode"),
    ]
    rows = [
        {
            "model": result.name,
            "train_images_per_second": result.train_images_per_second,
            "training_macs": result.training_macs / 1e12,
            "peak": result.peak_bytes / 2**20,
            "training_mode": _training_mode(result),
            "inference_mode": str(result.inference_mode),
        }
        for result in comparison.ranked
    ]
    peak = (
        "of the tensors on the GPU"
        if comparison.environment["device_type"] == "cuda"
        else "of the whole training process, including PyTorch itself"
    )
    notes = [
        f"TMACs: three forward passes for every {comparison.dataset.noun} in every step.",
        f"Peak memory: {peak}; the maximum over seeds.",
        *_concurrency_note(comparison),
    ]
    return Table("Training cost and compute modes", columns, rows, notes, models=comparison.names)


def pairs_table(comparison: Comparison) -> Table:
    """The difference of every pair with its interval, adjusted p-value and significance."""
    tested = f"test {comparison.dataset.noun}s"
    match comparison.settings.seeds:
        case 1:
            scope = f"over {tested} only: with one seed, they do not cover other trainings"
        case 2:
            scope = f"over seeds and {tested}; with 2 seeds, the false positive rate is higher than 5 %"
        case _:
            scope = f"over seeds and {tested}"
    return pairs_table_with_scope(comparison, scope)


def pairs_table_with_scope(comparison: AnyComparison, scope: str) -> Table:
    """`scope`: what the intervals cover, to complete "Brackets are 95 % intervals ..."."""
    columns = [
        Column("a", "better"),
        Column("b", "worse"),
        Column("difference", "difference", "points", digits=2, uncertainty="interval"),
        Column("p_holm", "p (Holm)", digits=4),
        Column("significance", "significance"),
    ]
    rows = [
        {
            "a": pair.a,
            "b": pair.b,
            "difference": pair.difference.estimate,
            "p_holm": pair.p_holm,
            "significance": _significance(pair),
        }
        for pair in comparison.ranking.pairs
    ]
    note = (
        f"Brackets are 95 % intervals {scope}. A difference is significant if its interval excludes 0. Significant "
        "alone: not significant after Holm's adjustment for all pairs, which requires an adjusted p below 0.05."
    )
    return Table("All pairs", columns, rows, [note], models=comparison.names)


def _significance(pair: Pair) -> str:
    if not pair.is_significant:
        return "not significant"
    return "significant" if pair.is_significant_holm else "significant alone"


def settings_note(comparison: Comparison) -> str:
    """How the settings of the recipes were chosen."""
    noun = comparison.dataset.noun
    if comparison.compared.settings_note:
        return comparison.compared.settings_note
    if comparison.tunings:
        trials = len(comparison.tunings[0].trials)
        return f"The settings of each model are the best of {trials} random trials on the training {noun}s."
    untuned = [result.name for result in comparison.model_results if tuned_for(result) != result.name]
    other_models = f"; those of {join_words(untuned, most=3)} were tuned for another model" if untuned else ""
    other_data = "" if comparison.dataset.name == "digits" else f", on the digits and not on {noun}s like these"
    return (
        f"The settings of each recipe were tuned with the same number of validation trials{other_data}{other_models}."
    )


def tuned_for(result: ModelResult) -> str:
    """The name of the model that the settings of this model's recipe were tuned for."""
    return read_recipe(result.candidate.recipe_name)["model"]


def _concurrency_note(comparison: Comparison) -> list[str]:
    plan = comparison.model_results[0].plan
    if plan.concurrent == 1:
        return []
    assert plan.threads is not None
    threads = pluralize(plan.threads, "thread")
    return [
        f"{plan.concurrent} trainings ran at the same time, with {threads} each. The training time is the time of the "
        f"training divided by {plan.concurrent}, and the training speed is that of the whole device."
    ]


def _training_mode(result: ModelResult) -> str:
    plan, batch = result.plan, result.candidate.job.batch
    return str(plan) if plan.micro_batch >= batch else f"{plan}, {plan.micro_batch} of {batch} at once"
