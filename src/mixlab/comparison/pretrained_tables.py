"""A comparison of published weights in three tables: what to choose by, the heads, and every pair."""

from dataclasses import replace

from mixlab.comparison.comparison_tables import table_of_pairs
from mixlab.comparison.pretrained_comparison import PretrainedComparison, PretrainedResult
from mixlab.models.contract import height_and_width
from mixlab.report.numbers import number
from mixlab.report.table import Column, Table


def pretrained_tables(comparison: PretrainedComparison) -> list[Table]:
    return [choice_table(comparison), heads_table(comparison), pairs_table(comparison)]


def choice_table(comparison: PretrainedComparison) -> Table:
    columns = [
        Column("model", "weights"),
        Column("top1", "top-1", "%", digits=1, uncertainty="interval"),
        Column("images_per_second", "inference", "images/s", digits=1, uncertainty="interval"),
        Column("parameters", "parameters", "M"),
        Column("macs", "MACs", "G"),
    ]
    rows = [
        {
            "model": one.name,
            "top1": one.top1,
            "images_per_second": one.images_per_second,
            "parameters": one.parameters / 1e6,
            "macs": one.macs / 1e9,
        }
        for one in comparison.ranked
    ]
    rows += [{"model": name, "top1": estimate} for name, estimate in comparison.baselines.items()]
    notes = [
        "Brackets are 95 % intervals: of an accuracy over test images, of inference over rounds in which the models "
        f"take turns, on {comparison.environment['device']}.",
        "A head in closed form (ridge regression) stands on what each backbone sees; nothing of the backbones is "
        "trained. Fine-tuned, they may rank otherwise.",
    ]
    return Table(comparison.title, columns, rows, notes, models=comparison.names)


def heads_table(comparison: PretrainedComparison) -> Table:
    columns = [
        Column("model", "weights"),
        Column("pixels", "sees", "pixels"),
        Column("channels", "features"),
        Column("ridges", "ridge"),
        Column("folds", "folds", "%"),
        Column("answers_in", "answers in"),
    ]
    if comparison.cv_folds.count == 1:
        columns = [column for column in columns if column.key != "folds"]
    rows = [
        {
            "model": one.name,
            "pixels": "x".join(map(str, height_and_width(one.backbone.preprocess.image_size))),
            "channels": one.answers.heads[0].head.weight.shape[1],
            "ridges": _ridges(one),
            "folds": " to ".join(
                number(end, 1) for end in (min(one.answers.top1_of_rounds), max(one.answers.top1_of_rounds))
            ),
            "answers_in": str(one.inference_mode),
        }
        for one in comparison.ranked
    ]
    notes = [
        "Ridge: the smallest and the largest of the rounds, chosen with the temperature on a tenth of each round's "
        "training images and on nothing that it judges.",
        *(
            ["Folds: the worst and the best. They share training images, so their spread is no standard error."]
            if comparison.cv_folds.count > 1
            else []
        ),
    ]
    return Table("The heads", columns, rows, notes, models=comparison.names)


def pairs_table(comparison: PretrainedComparison) -> Table:
    table = table_of_pairs(comparison.ranking, comparison.names, "over test images, groups of copies together")
    differences = map(comparison.difference, comparison.ranking.pairs)
    rows = [{**row, "difference": estimate} for row, estimate in zip(table.rows, differences, strict=True)]
    return replace(table, rows=rows)


def _ridges(one: PretrainedResult) -> str:
    """ "0.1 to 10", over the rounds."""
    ends = sorted({head.ridge for head in one.answers.heads})
    return f"{ends[0]:g}" if len(ends) == 1 else f"{ends[0]:g} to {ends[-1]:g}"
