"""Tables of a comparison of published weights: results, fitted heads, pairs."""

from dataclasses import replace

from mixlab.comparison.comparison_tables import bound_cells, bound_columns, bound_notes, pairs_table_with_scope
from mixlab.comparison.pretrained_comparison import PretrainedComparison, PretrainedResult
from mixlab.models.contract import height_and_width
from mixlab.report.numbers import number
from mixlab.report.table import Column, Table


def pretrained_tables(comparison: PretrainedComparison) -> list[Table]:
    """All tables, in the order in which `mixlab compare` prints them."""
    return [choice_table(comparison), heads_table(comparison), pairs_table(comparison)]


def choice_table(comparison: PretrainedComparison) -> Table:
    """Accuracy, speed and size of all weights, best first, then the accuracy of the baselines."""
    columns = [
        Column("model", "weights"),
        Column("top1", "top-1", "%", digits=1, uncertainty="interval"),
        *bound_columns(comparison),
        Column("images_per_second", "inference", f"{comparison.dataset.noun}s/s", digits=1, uncertainty="interval"),
        Column("parameters", "parameters", "M"),
        Column("macs", "MACs", "G"),
    ]
    rows = [
        {
            "model": result.name,
            "top1": result.mean_score,
            **bound_cells(comparison, result.name),
            "images_per_second": result.images_per_second,
            "parameters": result.parameters / 1e6,
            "macs": result.macs / 1e9,
        }
        for result in comparison.ranked
    ]
    rows += [{"model": name, "top1": estimate} for name, estimate in comparison.baselines.items()]
    notes = [
        f"Brackets are 95 % intervals: of an accuracy over test {comparison.dataset.noun}s, of inference over timing "
        f"rounds, in which the models take turns, on {comparison.environment['device']}.",
        *bound_notes(comparison, ""),
        "A closed-form head (ridge regression) is fitted on the features of each backbone; the backbones are not "
        "trained. After fine-tuning, the ranking may differ.",
        *comparison.unseen.notes,
    ]
    return Table(comparison.title, columns, rows, notes, models=comparison.names)


def heads_table(comparison: PretrainedComparison) -> Table:
    """Input size, feature width, selected penalties and accuracy by fold of every head, best model first."""
    columns = [
        Column("model", "weights"),
        Column("pixels", "input", "pixels"),
        Column("channels", "features"),
        Column("ridges", "ridge"),
        Column("folds", "folds", "%"),
        Column("inference_mode", "inference mode"),
    ]
    if comparison.cv_folds.count == 1:
        columns = [column for column in columns if column.key != "folds"]
    rows = [
        {
            "model": result.name,
            "pixels": "x".join(map(str, height_and_width(result.backbone.preprocess.image_size))),
            "channels": result.cross_validation.heads[0].head.weight.shape[1],
            "ridges": _ridges(result),
            "folds": " to ".join(
                number(end, 1)
                for end in (min(result.cross_validation.top1_of_rounds), max(result.cross_validation.top1_of_rounds))
            ),
            "inference_mode": str(result.inference_mode),
        }
        for result in comparison.ranked
    ]
    noun = comparison.dataset.noun
    notes = [
        "Ridge: the smallest and the largest of all rounds. Ridge and temperature are selected on a tenth of the "
        f"training {noun}s of each round, never on the {noun}s that are evaluated.",
        *(
            [
                f"Folds: the lowest and the highest accuracy. Folds share training {noun}s, so their spread is not a "
                "standard error."
            ]
            if comparison.cv_folds.count > 1
            else []
        ),
    ]
    return Table("Fitted heads", columns, rows, notes, models=comparison.names)


def pairs_table(comparison: PretrainedComparison) -> Table:
    """The difference of every pair with its interval, adjusted p-value and significance."""
    table = pairs_table_with_scope(comparison, f"over test {comparison.dataset.noun}s, with copies kept together")
    differences = map(comparison.difference, comparison.ranking.pairs)
    rows = [{**row, "difference": estimate} for row, estimate in zip(table.rows, differences, strict=True)]
    return replace(table, rows=rows)


def _ridges(result: PretrainedResult) -> str:
    """ "0.1 to 10": the range over all rounds."""
    ends = sorted({head.ridge for head in result.cross_validation.heads})
    return f"{ends[0]:g}" if len(ends) == 1 else f"{ends[0]:g} to {ends[-1]:g}"
