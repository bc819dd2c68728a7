"""`mixlab evaluate`: how good a model is, how sure, and where it fails."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.options import DATA, Device, TrustCode
from mixlab.cli.output import logger, require_empty_folder, show
from mixlab.report.table import Format


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="The folder of a run, a published name, timm:NAME.TAG, hub:owner/name, or a weights file.",
            show_default=False,
        ),
    ],
    data: Annotated[str | None, typer.Option(help=f"{DATA}. Default: the test split of the run.")] = None,
    accuracy: Annotated[
        float, typer.Option(help="Wanted accuracy in per cent of the answers above a confidence.")
    ] = 99.0,
    format: Annotated[Format, typer.Option(help="csv and json contain all numbers in full precision.")] = "table",
    out: Annotated[Path | None, typer.Option(help="New folder for report.html and results.json.")] = None,
    device: Device = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Evaluate a model on images that it was not trained on: accuracy, confidences, every class, errors."""
    from mixlab.evaluation.model_evaluation import evaluate_model
    from mixlab.evaluation.model_evaluation_page import model_evaluation_page
    from mixlab.evaluation.model_evaluation_tables import full_table, tables
    from mixlab.files import atomic_folder, write_json, write_text

    if out is not None:
        require_empty_folder(out)
    evaluated = evaluate_model(model, data, wanted=accuracy, quiet=quiet, device=device)
    log = logger(quiet=quiet)
    for note in evaluated.notes:
        log(note)
    match format:
        case "json":
            print(json.dumps(evaluated.results(), indent=2, ensure_ascii=False, allow_nan=False))
        case "csv":
            show([full_table(evaluated)], format)
        case _:
            show(tables(evaluated), format)
    if out is not None:
        page = model_evaluation_page(evaluated).html()
        with atomic_folder(out) as temporary:
            write_json(temporary / "results.json", evaluated.results())
            write_text(temporary / "report.html", page)
        log(f"Report: {out / 'report.html'}")
