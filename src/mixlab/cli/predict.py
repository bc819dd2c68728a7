"""`mixlab predict`: labels for images."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixlab.errors import UserError
from mixlab.report.table import Cell, Column, Format, Table, print_table, render
from mixlab.report.text import pluralize

if TYPE_CHECKING:
    from mixlab.prediction.predictor import Prediction


def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="A run's folder, a published name, hub:owner/name, or a file of weights.", show_default=False
        ),
    ],
    images: Annotated[list[Path], typer.Argument(help="Files, or folders of them.", show_default=False)],
    top: Annotated[int, typer.Option(help="How many of the most probable labels.")] = 1,
    format: Annotated[Format, typer.Option(help="How the answers are written.")] = "table",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Answer images with labels and their probabilities, from 0 to 1."""
    from mixlab.prediction.predictor import Prediction, Predictor
    from mixlab.report.progress import progress

    if top < 1:
        raise UserError(f"--top {top} asks for no label: give at least 1.")
    files = [file for place in images for file in _files(place)]
    predictor = Predictor(model)
    answered: list[tuple[Path, Prediction]] = []
    with progress("predict", total=len(files), quiet=quiet) as advance:
        for file, answer in zip(files, predictor.answers(files), strict=True):
            if isinstance(answer, Prediction):
                answered.append((file, answer))
            else:
                print(f"mixlab: {answer}", file=sys.stderr)
            advance(1, file.name)
    if answered:
        table = _table(answered, min(top, len(predictor.classes)))
        if format == "table":
            print_table(table)
        else:
            print(render(table, format), end="")
    if len(answered) < len(files):
        raise typer.Exit(1 if answered else 2)


def _files(place: Path) -> list[Path]:
    from mixlab.data.readers.folder_scan import images_below

    if not place.is_dir():
        return [place]
    found = images_below(place)
    if not found:
        raise UserError(f"{place} holds no images: give files, or a folder that holds some (.jpg, .png, .webp ...).")
    return found


def _table(answered: "list[tuple[Path, Prediction]]", top: int) -> Table:
    columns = [Column("image", "image")]
    for rank in range(1, top + 1):
        background = "" if top == 1 else f"_{rank}"
        columns += [Column(f"label{background}", "label"), Column(f"probability{background}", "probability", digits=3)]
    rows: list[dict[str, Cell]] = []
    for file, prediction in answered:
        cells = [cell for label_and_probability in prediction.top(top) for cell in label_and_probability]
        rows.append(dict(zip((column.key for column in columns), (str(file), *cells), strict=True)))
    return Table(pluralize(len(answered), "image"), columns, rows)
