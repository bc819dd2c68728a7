"""`mixlab models`: what there is, and what the papers say of it."""

from typing import Annotated

import typer

from mixlab.errors import UserError
from mixlab.report.table import Format, Table, print_table, render


def models(
    pattern: Annotated[
        str, typer.Argument(help="The beginning of a name; * stands for any letters.", show_default=False)
    ] = "",
    paper: Annotated[
        bool, typer.Option("--paper", help="The papers' tables of results, beside what mixlab counts itself.")
    ] = False,
    format: Annotated[Format, typer.Option(help="csv and json have more columns: every field.")] = "table",
) -> None:
    """List every model by name: what it costs, where it comes from, and the accuracy reported for it."""
    from mixlab.zoo import listing
    from mixlab.zoo.sizes import list_sizes

    if paper and pattern:
        raise UserError(f'`--paper` lists whole tables: leave out the pattern "{pattern}".')
    match format, paper:
        case "csv" | "json", True:
            tables = [listing.paper_for_programs()]
        case "csv" | "json", False:
            tables = [listing.sizes_for_programs(list_sizes(pattern))]
        case _, True:
            tables = listing.paper_for_people()
        case _, False:
            tables = [listing.sizes_for_people(list_sizes(pattern))]
    _write(tables, format)


def _write(tables: list[Table], format: Format) -> None:
    if format == "table":
        for table in tables:
            print_table(table)
            print()
    else:
        print("\n".join(render(table, format) for table in tables), end="")
