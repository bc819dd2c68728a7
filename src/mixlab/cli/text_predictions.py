"""`mixlab predict` for a model that reads texts."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mixlab.cli.prediction_tables import label_columns, label_row
from mixlab.errors import UserError
from mixlab.report.progress import Log
from mixlab.report.table import Column, Table
from mixlab.report.text import pluralize

if TYPE_CHECKING:
    from mixlab.prediction.predictor import Prediction


def predict_texts(model: str, given: list[str], top: int, device: str | None, log: Log) -> Table:
    """The predictions for texts.

    given  texts, .txt files with one text per line, or "-" for the lines of standard input

    Raises UserError for a text without words, an image, or a file that is not in UTF-8.
    """
    from mixlab.prediction.text_predictor import TextPredictor

    texts = [text for argument in given for text in _texts(argument)]
    if not texts:
        raise UserError("There are no texts: give a text, a file with one text per line, or lines on standard input.")
    predictor = TextPredictor(model, device=device)
    table = _table(texts, predictor.predict(texts), min(top, len(predictor.classes)))
    if cut := sum(map(predictor.is_cut, texts)):
        log(
            f"{pluralize(cut, 'text')} longer than {predictor.tokens} tokens, the maximum length of the model: only "
            "the first ones are read."
        )
    return table


def _texts(argument: str) -> list[str]:
    from mixlab.data.readers.folder_files import is_image
    from mixlab.data.text.read import UTF_8, decoded, lines_in

    if argument == "-":
        lines = lines_in(sys.stdin.read())
    elif is_image(Path(argument)):
        raise UserError(f"{argument} is an image, but the model reads texts: give a text, or a model for images.")
    elif argument.lower().endswith(".txt"):
        lines = lines_in(decoded(Path(argument), UTF_8))
    elif Path(argument).is_file():
        raise UserError(f"{argument} is a file without the suffix .txt: give a .txt file with one text per line.")
    else:
        return [argument]
    return [line for line in lines if line.strip()]


def _table(texts: list[str], predictions: "Iterable[Prediction]", top: int) -> Table:
    columns = label_columns([Column("text", "text")], top)
    rows = [label_row(columns, [text], prediction) for text, prediction in zip(texts, predictions, strict=True)]
    return Table(pluralize(len(rows), "text"), columns, rows)
