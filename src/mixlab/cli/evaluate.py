"""`mixlab evaluate`: metrics of a finished run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.options import DATA, Device, TrustCode
from mixlab.cli.output import logger, require_empty_folder, show
from mixlab.report.table import Format


def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a run, as printed by mixlab train.", show_default=False)],
    data: Annotated[str | None, typer.Option(help=f"{DATA}. Default: the test split of the run.")] = None,
    format: Annotated[Format, typer.Option(help="csv and json contain all numbers in full precision.")] = "table",
    out: Annotated[Path | None, typer.Option(help="New folder for report.html and results.json.")] = None,
    device: Device = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Evaluate a run on images that it was not trained on: accuracy, metrics of each class, confusions."""
    from mixlab.evaluation.run_evaluation import evaluate_run
    from mixlab.evaluation.run_evaluation_page import run_evaluation_page
    from mixlab.evaluation.run_evaluation_tables import full_table, tables
    from mixlab.files import atomic_folder, write_json, write_text
    from mixlab.runs.folder import open_run

    if out is not None:
        require_empty_folder(out)
    run_evaluation = evaluate_run(open_run(run), data, quiet=quiet, device=device)
    log = logger(quiet=quiet)
    for note in run_evaluation.dataset.notes:
        log(note)
    match format:
        case "json":
            print(json.dumps(run_evaluation.results(), indent=2, ensure_ascii=False, allow_nan=False))
        case "csv":
            show([full_table(run_evaluation)], format)
        case _:
            show(tables(run_evaluation), format)
    if out is not None:
        page = run_evaluation_page(run_evaluation).html()
        with atomic_folder(out) as temporary:
            write_json(temporary / "results.json", run_evaluation.results())
            write_text(temporary / "report.html", page)
        log(f"Report: {out / 'report.html'}")
