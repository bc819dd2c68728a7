"""`mixlab predict`: predicts labels for images."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.image_files import image_files
from mixlab.cli.options import (
    Device,
    Int8Data,
    Precision,
    PredictionModel,
    Speed,
    TrustCode,
    Windows,
    require_alone,
    require_int8_for_data,
)
from mixlab.cli.output import logger, require_empty_folder, require_new_file, show
from mixlab.cli.prediction_tables import Row, with_excerpts, with_label_sets, with_labels
from mixlab.cli.text_predictions import predict_texts
from mixlab.errors import UserError
from mixlab.report.progress import Log
from mixlab.report.table import Format, Table, print_table, render
from mixlab.report.text import pluralize


def predict(
    model: PredictionModel,
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image or sound files, or folders of them. For a model that reads texts: texts, .txt files, or - for "
            "lines of standard input.",
            show_default=False,
        ),
    ],
    top: Annotated[int, typer.Option(help="Number of most probable labels to print.")] = 1,
    format: Annotated[Format, typer.Option(help="Output format.")] = "table",
    out: Annotated[
        Path | None, typer.Option(help="Write the predictions to a new .csv, .json or .jsonl file instead.")
    ] = None,
    excerpts: Annotated[
        bool, typer.Option("--excerpts", help="A row for each excerpt of a sound, with its start and end in seconds.")
    ] = False,
    device: Device = None,
    speed: Speed = "auto",
    precision: Precision = "auto",
    data: Int8Data = None,
    windows: Windows = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Hide progress.")] = False,
) -> None:
    """Predict labels for images, sounds or texts, with probabilities from 0 to 1, or masks in the folder of --out."""
    from mixlab.prediction.predictor import Prediction, Predictor
    from mixlab.report.progress import progress
    from mixlab.speed.allocator import retain_freed_memory
    from mixlab.weights.source import task_of

    retain_freed_memory()
    task = task_of(model)
    if top != 1 and task == "multilabel":
        raise UserError(
            f"--top {top} has no effect for a multilabel model, which has a threshold per label: remove it."
        )
    others: dict[str, object] = {"--precision": precision != "auto", "--data": data is not None, "--excerpts": excerpts}
    if task == "segmentation":
        require_alone("a segmentation", others | {"--top": top != 1})
        _predict_masks(model, list(map(Path, images)), format, out, device, windows, quiet=quiet)
        return
    require_alone("a model without masks", {"--windows": windows is not None})
    if top < 1:
        raise UserError(f"--top {top} is out of range: it must be at least 1.")
    if out is not None:
        require_new_file(out, "--out", ".csv", ".json", ".jsonl")
    log = logger(quiet=quiet)
    if task == "text":
        require_alone("a model that reads texts", others)
        _write(predict_texts(model, images, top, device, log), format, out, log)
        return
    require_int8_for_data(data, precision)
    predictor = Predictor(model, device=device, speed=speed, precision=precision, data=data, log=log)
    if excerpts and not predictor.reads_sounds:
        raise UserError(f"--excerpts has no effect for {model}, which is a model of images: remove it.")
    files = [file for path in images for file in image_files(Path(path), predictor.preprocess, log)]
    shown = min(top, len(predictor.classes))
    if predictor.task.name == "multilabel":
        kind = with_label_sets()
    else:
        kind = with_excerpts(shown) if excerpts else with_labels(predictor.preprocess.noun, shown)
    rows: list[Row] = []
    unreadable = 0
    with progress("predict", total=len(files), quiet=quiet) as advance:
        for file, result in zip(files, predictor.predict(files), strict=True):
            if isinstance(result, Prediction):
                rows += kind.rows_of(file, result)
            else:
                unreadable += 1
                print(f"mixlab: {result}", file=sys.stderr)
            advance(1, file.name)
    if rows:
        _write(kind.table(rows, predictor.novelty), format, out, log)
    if unreadable:
        raise typer.Exit(1 if rows else 2)


def _predict_masks(
    model: str,
    images: list[Path],
    format: Format,
    out: Path | None,
    device: str | None,
    windows: float | None,
    *,
    quiet: bool,
) -> None:
    from mixlab.files import atomic_folder, write_text
    from mixlab.prediction.mask_page import mask_page
    from mixlab.prediction.segmentation import MaskPredictor, write_shares
    from mixlab.report.progress import progress

    if out is None:
        raise UserError("A segmentation predicts masks, which are files: give a new folder for them with --out.")
    require_empty_folder(out)
    log = logger(quiet=quiet)
    predictor = MaskPredictor(model, device=device, overlap=windows)
    files = [file for path in images for file in image_files(path, predictor.preprocess, log)]
    masks = []
    with atomic_folder(out) as temporary, progress("predict", total=len(files), quiet=quiet) as advance:
        for mask in predictor.write(files, temporary, lambda error: print(f"mixlab: {error}", file=sys.stderr)):
            masks += [mask] if mask else []
            advance(1)
        if not masks:
            raise typer.Exit(2)
        table = predictor.table(masks)
        write_shares(temporary, table)
        page = mask_page(model, predictor.classes, masks, table)
        write_text(temporary / "report.html", page.html())
    show([table], format)
    log(f"{pluralize(len(masks), 'mask')}: {out}")
    if len(masks) < len(files):
        raise typer.Exit(1)


def _write(table: Table, format: Format, out: Path | None, log: Log) -> None:
    """Print the predictions, or write them to `out`."""
    from mixlab.files import write_text

    if out is not None or format == "csv":
        for note in table.all_notes:
            log(note)
    if out is not None:
        write_text(out, _file_content(table, out.suffix))
        log(f"{pluralize(len(table.rows), 'prediction')}: {out}")
    elif format == "table":
        print_table(table)
    else:
        print(render(table, format), end="")


def _file_content(table: Table, suffix: str) -> str:
    match suffix.lower():
        case ".csv":
            return render(table, "csv")
        case ".json":
            return render(table, "json")
        case _:
            return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.rows)
