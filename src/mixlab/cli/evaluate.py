"""`mixlab evaluate`: how good a model is, how sure, and where it fails."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.options import DATA, Device, TrustCode
from mixlab.cli.output import logger, require_empty_folder, require_new_file, show
from mixlab.report.table import Format


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A run, a published name, timm:NAME.TAG, hub:owner/name, a weights file, or saved logits (.parquet).",
            show_default=False,
        ),
    ],
    data: Annotated[str | None, typer.Option(help=f"{DATA}. Default: the test split of the run.")] = None,
    accuracy: Annotated[
        float, typer.Option(help="Wanted accuracy in per cent of the answers above a confidence.")
    ] = 99.0,
    save_logits: Annotated[
        Path | None, typer.Option(help="New parquet file for the logits, from which all numbers can be recomputed.")
    ] = None,
    format: Annotated[Format, typer.Option(help="csv and json contain all numbers in full precision.")] = "table",
    out: Annotated[Path | None, typer.Option(help="New folder for report.html and results.json.")] = None,
    device: Device = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Evaluate a model on images that it was not trained on: accuracy, confidences, every class, errors."""
    from mixlab.evaluation.logits_evaluation import evaluate_logits_file, is_logits_file
    from mixlab.evaluation.logits_file import SUFFIX
    from mixlab.evaluation.model_evaluation import evaluate_model
    from mixlab.evaluation.model_evaluation_page import model_evaluation_page
    from mixlab.evaluation.model_evaluation_tables import full_table, tables
    from mixlab.files import atomic_folder, write_json, write_text

    if out is not None:
        require_empty_folder(out)
    if save_logits is not None:
        require_new_file(save_logits, "--save-logits", SUFFIX)
    if is_logits_file(model):
        evaluated = evaluate_logits_file(model, data, wanted=accuracy)
    else:
        evaluated = evaluate_model(model, data, wanted=accuracy, device=device, save_logits=save_logits, quiet=quiet)
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
