"""`mixlab evaluate`: how good a finished run is."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.options import DATA
from mixlab.cli.output import refuse_occupied, sayer, show
from mixlab.report.table import Format


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder, which mixlab train has printed.", show_default=False)],
    data: Annotated[str | None, typer.Option(help=f"{DATA}; else what the run held out of its own data.")] = None,
    format: Annotated[Format, typer.Option(help="csv and json have every figure in full.")] = "table",
    out: Annotated[Path | None, typer.Option(help="A new folder for report.html and results.json.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Judge a run on images that it was not trained on: accuracy, every class, confusions, with intervals."""
    from mixlab.evaluation.run_evaluation import judge_run
    from mixlab.evaluation.run_evaluation_page import judgement_page
    from mixlab.evaluation.run_evaluation_tables import table_for_programs, tables
    from mixlab.files import whole_folder, write_json, write_text
    from mixlab.runs.folder import open_run

    if out is not None:
        refuse_occupied(out)
    judgement = judge_run(open_run(run), data, quiet=quiet)
    say = sayer(quiet=quiet)
    for note in judgement.dataset.notes:
        say(note)
    match format:
        case "json":
            print(json.dumps(judgement.results(), indent=2, ensure_ascii=False, allow_nan=False))
        case "csv":
            show([table_for_programs(judgement)], format)
        case _:
            show(tables(judgement), format)
    if out is not None:
        page = judgement_page(judgement).html()
        with whole_folder(out) as temporary:
            write_json(temporary / "results.json", judgement.results())
            write_text(temporary / "report.html", page)
        say(f"The report: {out / 'report.html'}")
