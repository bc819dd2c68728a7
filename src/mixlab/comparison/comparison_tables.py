"""A comparison in three tables: what to choose by, what the trainings cost, and every pair. Each fits 100 columns."""

from collections.abc import Sequence

from mixlab.benchmark.throughput import BATCH
from mixlab.comparison.comparison import Comparison, ModelResult
from mixlab.comparison.ranking import Pair, Ranking
from mixlab.report.table import Column, Table
from mixlab.report.text import join_words
from mixlab.training.recipes.recipe_files import read_recipe

_BUILT = {
    "resnet_nano": "timm's ResNet with a 3x3 stem of stride 1 and no max-pool",
    "vit_nano": "timm's VisionTransformer with patch 4",
}


def tables(comparison: Comparison) -> list[Table]:
    return [choice_table(comparison), costs_table(comparison), pairs_table(comparison)]


def choice_table(comparison: Comparison) -> Table:
    columns = [
        Column("model", "model"),
        Column("top1", "top-1", "%", digits=1),
        Column("images_per_second", "inference", "images/s", digits=0, uncertainty="interval"),
        Column("training_seconds", "a training", "s"),
        Column("parameters", "parameters", "M"),
        Column("macs", "MACs", "M"),
    ]
    rows = [
        {
            "model": result.name,
            "top1": result.top1,
            "images_per_second": result.images_per_second,
            "training_seconds": result.training_seconds,
            "parameters": result.candidate.parameters / 1e6,
            "macs": result.candidate.macs / 1e6,
        }
        for result in comparison.ranked
    ]
    rows += [{"model": name, "top1": estimate} for name, estimate in comparison.baselines.items()]
    spread = "± is the standard deviation of the seeds. " if comparison.settings.seeds > 1 else ""
    notes = [
        f"{spread}Brackets are 95 % intervals: of an accuracy over test images, of inference over rounds of {BATCH} "
        f"images in which the models take turns, on {comparison.environment['device']}.",
        "Validation images were part of train, because nothing was selected: the settings are fixed, the last "
        "weights are judged, and the test images are read once.",
        _settings(comparison),
        *(f"{name} is {_BUILT[name]}." for name in comparison.names if name in _BUILT),
    ]
    return Table(comparison.title, columns, rows, notes, models=comparison.names)


def costs_table(comparison: Comparison) -> Table:
    columns = [
        Column("model", "model"),
        Column("train_images_per_second", "training", "images/s", digits=0),
        Column("training_macs", "a training", "TMACs"),
        Column("peak", "peak memory", "MiB", digits=0),
        Column("trained_in", "trained in"),
        Column("answers_in", "answers in"),
    ]
    rows = [
        {
            "model": result.name,
            "train_images_per_second": result.train_images_per_second,
            "training_macs": result.training_macs / 1e12,
            "peak": result.peak_bytes / 2**20,
            "trained_in": _trained_in(result),
            "answers_in": str(result.inference_mode),
        }
        for result in comparison.ranked
    ]
    peak = (
        "of the tensors on the GPU"
        if comparison.environment["device_type"] == "cuda"
        else "of the whole training process, PyTorch itself included"
    )
    notes = [
        "TMACs: three times the forward pass, for every image that a step saw.",
        f"Peak memory: {peak}; the largest of the seeds.",
    ]
    return Table("What a training costs, and how it ran", columns, rows, notes, models=comparison.names)


def pairs_table(comparison: Comparison) -> Table:
    match comparison.settings.seeds:
        case 1:
            over = "over test images alone: one seed says nothing about other trainings"
        case 2:
            over = "over seeds and test images; with 2 seeds, false alarms come more often than they should"
        case _:
            over = "over seeds and test images"
    return table_of_pairs(comparison.ranking, comparison.names, over)


def table_of_pairs(ranking: Ranking, models: Sequence[str], over: str) -> Table:
    """`over`: what the intervals are about."""
    columns = [
        Column("a", "ahead"),
        Column("b", "behind"),
        Column("difference", "by", "points", digits=2, uncertainty="interval"),
        Column("p_holm", "p (Holm)", digits=4),
        Column("ranking", "ranking"),
    ]
    rows = [
        {
            "a": pair.a,
            "b": pair.b,
            "difference": pair.estimate,
            "p_holm": pair.p_holm,
            "ranking": _verdict(pair),
        }
        for pair in ranking.pairs
    ]
    note = (
        f"Brackets are 95 % intervals {over}. Told apart: the interval excludes 0. Alone: by itself, but not among all "
        "pairs, where p, adjusted by Holm, would have to be below 0.05."
    )
    return Table("All pairs", columns, rows, [note], models=models)


def _verdict(pair: Pair) -> str:
    if not pair.is_significant:
        return "not told apart"
    return "told apart" if pair.is_significant_holm else "told apart alone"


def _settings(comparison: Comparison) -> str:
    borrowed = [one.name for one in comparison.model_results if tuned_for(one) != one.name]
    untuned = f"; those of {join_words(borrowed, most=3)} were tuned for another model" if borrowed else ""
    elsewhere = "" if comparison.dataset.name == "digits" else ", on the digits and not on images such as these"
    return f"The settings behind each recipe had the same number of validation trials{elsewhere}{untuned}."


def tuned_for(result: ModelResult) -> str:
    """The model whose settings its recipe has."""
    return read_recipe(result.candidate.recipe_name)["model"]


def _trained_in(result: ModelResult) -> str:
    plan, batch = result.plan, result.candidate.job.batch
    return str(plan.mode) if plan.micro_batch >= batch else f"{plan.mode}, {plan.micro_batch} of {batch} at once"
