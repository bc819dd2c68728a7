"""The tables of `mixlab predict`. A row has no more of a prediction than is printed, so that jobs can be long."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize

if TYPE_CHECKING:
    from mixlab.evaluation.novelty import NoveltyDetector
    from mixlab.prediction.predictor import Prediction

Row = dict[str, Cell]


@dataclass(frozen=True)
class PredictionTable:
    """A kind of table.

    noun     what a row is, such as "image"
    source   what a file is
    rows_of  the rows of a file
    """

    noun: str
    source: str
    columns: Sequence[Column]
    rows_of: "Callable[[Path, Prediction], list[Row]]"

    def table(self, rows: Sequence[Row], novelty: "NoveltyDetector | None") -> Table:
        """The table of all rows; with a detector, they have flags."""
        title = pluralize(len(rows), self.noun)
        if novelty is None:
            return Table(title, self.columns, rows)
        key = _flag_key(self.source)
        flagged = sum(row[key] == "yes" for row in rows)
        column = Column(key, f"unlike the training {self.source}s", note=_novelty_note(flagged, novelty, self.noun))
        return Table(title, [*self.columns, column], rows)


def with_labels(noun: str, top: int) -> PredictionTable:
    """A row for each file, with its `top` most probable labels."""
    columns = label_columns([Column(noun, noun)], top)
    return PredictionTable(
        noun,
        noun,
        columns,
        lambda file, prediction: [label_row(columns, [str(file)], prediction) | _flag(prediction, noun)],
    )


def with_excerpts(top: int) -> PredictionTable:
    """A row for each excerpt of each sound, with its `top` most probable labels."""
    times = [Column("start_s", "start", "s", digits=2), Column("end_s", "end", "s", digits=2)]
    columns = label_columns([Column("sound", "sound"), *times], top)
    return PredictionTable(
        "excerpt",
        "sound",
        columns,
        lambda file, prediction: [
            label_row(columns, [str(file), one.start, one.end], one.prediction) | _flag(one.prediction, "sound")
            for one in prediction.excerpts
        ],
    )


def with_label_sets() -> PredictionTable:
    """A row for each image, with its predicted labels and their probabilities, separated by "|" as in its data set."""

    def rows_of(file: Path, prediction: "Prediction") -> list[Row]:
        probability_of = dict(zip(prediction.classes, prediction.probabilities.tolist(), strict=True))
        probabilities = "|".join(f"{probability_of[label]:.3f}" for label in prediction.labels)
        row: Row = {"image": str(file), "labels": "|".join(prediction.labels), "probabilities": probabilities}
        return [row | _flag(prediction, "image")]

    columns = [Column("image", "image"), Column("labels", "labels"), Column("probabilities", "probabilities")]
    return PredictionTable("image", "image", columns, rows_of)


def label_columns(first: Sequence[Column], top: int) -> list[Column]:
    """The `first` columns, and those of the `top` most probable labels."""
    columns = [*first]
    for rank in range(1, top + 1):
        suffix = "" if top == 1 else f"_{rank}"
        columns += [Column(f"label{suffix}", "label"), Column(f"probability{suffix}", "probability", digits=3)]
    return columns


def label_row(columns: Sequence[Column], first: Sequence[Cell], prediction: "Prediction") -> Row:
    """A row of `label_columns`; `first` has the cells of the first columns."""
    top = (len(columns) - len(first)) // 2
    cells = [cell for label_and_probability in prediction.top(top) for cell in label_and_probability]
    return dict(zip((column.key for column in columns), (*first, *cells), strict=True))


def _flag_key(source: str) -> str:
    return f"unlike_training_{source}s"


def _flag(prediction: "Prediction", source: str) -> Row:
    if prediction.unlike_training is None:
        return {}
    return {_flag_key(source): "yes" if prediction.unlike_training else "no"}


def _novelty_note(flagged: int, novelty: "NoveltyDetector", noun: str) -> str:
    from mixlab.evaluation.novelty import FALSE_ALARM_RATE

    low, high = novelty.false_alarm_interval
    article = "a" if noun == "sound" else "an"
    return (
        f"{pluralize(flagged, noun)}. Do not trust the label of such {article} {noun}. The rate of false alarms is at "
        f"most {100 * FALSE_ALARM_RATE:g} % of {noun}s like the {novelty.validation_images:,} validation {noun}s on "
        f"average ({100 * low:.1f} to {100 * high:.1f} % for one training). {article.capitalize()} {noun} that is not "
        "flagged may still be of an unknown class."
    )
