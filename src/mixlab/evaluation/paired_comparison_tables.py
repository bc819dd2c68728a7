"""Tables of a paired comparison."""

from mixlab.evaluation.paired_comparison import ChangedImage, PairedComparison, fewest_class_images
from mixlab.evaluation.paired_comparison_text import conclusion, scope, what_would_decide
from mixlab.evaluation.predictions import Predictions
from mixlab.report.numbers import format_points, number
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import join_words, pluralize
from mixlab.stats.paired import crossed_interval

_MAX_ROWS = 20


def tables(comparison: PairedComparison) -> list[Table]:
    """All tables: accuracies with the conclusion, difference, tests, changed images, and classes."""
    return [
        accuracy_table(comparison),
        difference_table(comparison),
        claims_table(comparison),
        *changed_tables(comparison),
        *class_tables(comparison),
    ]


def accuracy_table(comparison: PairedComparison) -> Table:
    """The accuracy of both methods; the notes begin with the conclusion."""
    name_a, name_b = comparison.names
    notes = [conclusion(comparison), scope(comparison), *what_would_decide(comparison)]
    notes.append(f"Brackets are 95 % intervals over {comparison.noun}s{_and_runs(comparison)}.")
    return Table(
        f"{name_a} and {name_b} on the {comparison.a.images:,} {comparison.noun}s of {comparison.a.data}",
        [Column("model", "model"), Column("runs", "runs"), Column("top1", "top-1", "%", 2, uncertainty="interval")],
        [_accuracy_row(name_a, comparison.a), _accuracy_row(name_b, comparison.b)],
        [note for note in notes if note],
    )


def difference_table(comparison: PairedComparison) -> Table:
    """The difference with its interval, the two parts of its standard error, and what could be detected."""
    difference = comparison.difference
    name_a, name_b = comparison.names
    rows: list[dict[str, Cell]] = [
        {"measure": f"{name_a} minus {name_b}", "value": difference.estimate},
        {"measure": f"standard error due to the {comparison.noun}s", "value": difference.image_error},
        {
            "measure": "standard error due to the runs",
            "value": difference.seed_error if max(difference.seeds) > 1 else None,
        },
        {"measure": "smallest detectable difference", "value": comparison.detectable},
    ]
    notes = [
        f"Brackets: the 95 % interval over {comparison.noun}s{_and_runs(comparison)}.",
        "Smallest detectable difference: a true difference of this size is significant with a probability of 80 %.",
    ]
    return Table("Difference", [Column("measure", "measure"), Column("value", "value", "points", 2)], rows, notes)


def claims_table(comparison: PairedComparison) -> Table:
    """The p-values of a difference and of equivalence."""
    test = "crossed bootstrap" if comparison.mcnemar_p is None else "McNemar, exact"
    equivalence = comparison.equivalence
    margin = format_points(comparison.margin)
    rows: list[dict[str, Cell]] = [
        {"claim": "the accuracies differ", "test": test, "p": comparison.p},
        {"claim": f"they differ by less than {margin}", "test": "two one-sided tests", "p": equivalence.p},
    ]
    note = (
        "A claim is shown if p is below 0.05. The second one is shown if and only if the 90 % interval of the "
        f"difference, [{number(equivalence.low, 2)}, {number(equivalence.high, 2)}] points, is within the margin."
    )
    return Table("Tests", [Column("claim", "claim"), Column("test", "test"), Column("p", "p", digits=4)], rows, [note])


def changed_tables(comparison: PairedComparison) -> list[Table]:
    """The images that only one method classifies correctly: one table for each method that has some."""
    name_a, name_b = comparison.names
    return [
        *_changed_table(comparison, f"Correct with {name_a}, wrong with {name_b}", comparison.only_a),
        *_changed_table(comparison, f"Wrong with {name_a}, correct with {name_b}", comparison.only_b),
    ]


def class_tables(comparison: PairedComparison) -> list[Table]:
    """The classes with the smallest p-values; empty if no class has enough images."""
    tested = [each for each in comparison.classes if each.difference is not None]
    too_few = [each.name for each in comparison.classes if each.difference is None]
    name_a, name_b = comparison.names
    rows: list[dict[str, Cell]] = [
        {"class": each.name, "images": each.images, "difference": each.difference.estimate, "p_holm": each.p_holm}
        for each in tested[:_MAX_ROWS]
        if each.difference is not None
    ]
    notes = [
        f"Difference: the recall of {name_a} minus that of {name_b}; brackets are 95 % intervals of one class alone.",
        "p is adjusted by Holm's method for all tested classes: below 0.05, the recalls differ. The recalls of a class "
        "with a larger p may differ as well.",
    ]
    if len(tested) > _MAX_ROWS:
        notes.append(f"The {_MAX_ROWS} classes with the smallest p of {len(tested):,}.")
    if too_few:
        fewest = fewest_class_images(len(comparison.classes))
        notes.append(f"Not tested because they have fewer than {fewest} {comparison.noun}s: {join_words(too_few)}.")
    columns = [
        Column("class", "class"),
        Column("images", f"{comparison.noun}s"),
        Column("difference", "difference", "points", 1, uncertainty="interval"),
        Column("p_holm", "p (Holm)", digits=4),
    ]
    return [Table("Differences by class", columns, rows, notes)] if rows else []


def _accuracy_row(name: str, predictions: Predictions) -> dict[str, Cell]:
    return {"model": name, "runs": predictions.runs, "top1": crossed_interval(predictions.correct)}


def _and_runs(comparison: PairedComparison) -> str:
    return " and runs" if comparison.difference.covers_seeds else ""


def _changed_table(comparison: PairedComparison, title: str, images: tuple[ChangedImage, ...]) -> list[Table]:
    if not images:
        return []
    name_a, name_b = comparison.names
    one_run = comparison.a.runs == comparison.b.runs == 1
    details = [Column("a", name_a), Column("b", name_b)]
    if not one_run:
        details = [Column(each.key, f"correct runs, {each.title}", "%", 0) for each in details]
    rows: list[dict[str, Cell]] = [
        {
            "image": image.name,
            "class": image.label,
            "a": image.predicted_a if one_run else 100 * image.share_a,
            "b": image.predicted_b if one_run else 100 * image.share_b,
        }
        for image in images[:_MAX_ROWS]
        if image.name is not None
    ]
    notes = []
    if not one_run:
        notes.append("Correct: more than half of the runs are.")
    if len(images) > len(rows) > 0:
        notes.append(f"The first {len(rows)} by name of {len(images):,}; results.json has all.")
    if not rows:
        notes.append(f"The names of the {comparison.noun}s are not known: they are not stored in a correctness file.")
    columns = [Column("image", comparison.noun), Column("class", "class"), *details]
    return [Table(f"{title}: {pluralize(len(images), comparison.noun)}", columns, rows, notes)]
