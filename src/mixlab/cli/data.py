"""`mixlab data`: what is in a set of pictures, and what a model will see of it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.output import refuse_occupied, sayer
from mixlab.report.table import Format, print_table, render

data = typer.Typer(no_args_is_help=False, help="Look at a set of pictures: check it, or preview what a model sees.")


@data.command()
def check(
    source: Annotated[str, typer.Argument(metavar="DATA", help="digits, cifar10, folder:PATH, csv:FILE ...")],
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read; else one a core.")] = None,
    format: Annotated[Format, typer.Option(help="csv and json name every picture found.")] = "table",
    out: Annotated[Path | None, typer.Option(help="A new folder for report.html and results.json.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Find unreadable pictures, copies, also across train and test, and what is unusual; nothing is changed."""
    from mixlab.data.check import check_pictures
    from mixlab.data.sources import open_as_found
    from mixlab.files import whole_folder, write_json, write_text
    from mixlab.measure.machine import cores
    from mixlab.studies.data_check import results, table_for_programs, tables
    from mixlab.studies.data_check_page import data_check_page

    if out is not None:
        refuse_occupied(out)
    say = sayer(quiet=quiet)
    dataset = open_as_found(source, quiet=quiet)
    for note in dataset.notes:
        say(note)
    checked = check_pictures(dataset, workers=workers or cores(), quiet=quiet)
    match format:
        case "json":
            print(json.dumps(results(checked), indent=2, ensure_ascii=False))
        case "csv":
            print(render(table_for_programs(checked), format), end="")
        case "markdown":
            print("\n".join(render(table, format) for table in tables(checked)), end="")
        case "table":
            for table in tables(checked):
                print_table(table)
                print()
    if out is not None:
        page = data_check_page(checked).html()
        with whole_folder(out) as part:
            write_json(part / "results.json", results(checked))
            write_text(part / "report.html", page)
        say(f"The report: {out / 'report.html'}")
