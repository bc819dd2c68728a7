"""`mixlab models`: what there is, and what the papers say of it."""

from typing import Annotated

import typer

from mixlab.cli.output import show
from mixlab.errors import UserError
from mixlab.report.table import Format


def models(
    pattern: Annotated[
        str, typer.Argument(help="The beginning of a name; * stands for any letters.", show_default=False)
    ] = "",
    paper: Annotated[
        bool, typer.Option("--paper", help="The papers' tables of results, beside what mixlab counts itself.")
    ] = False,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Published weights; the exact name of one shows its whole Card.")
    ] = False,
    format: Annotated[Format, typer.Option(help="csv and json have more columns: every field.")] = "table",
) -> None:
    """List every model by name: what it costs, where it comes from, and the accuracy reported for it."""
    from mixlab.zoo import card_listing, listing
    from mixlab.zoo.cards import card, list_cards
    from mixlab.zoo.sizes import list_sizes

    if paper and pattern:
        raise UserError(f'`--paper` lists whole tables: leave out the pattern "{pattern}".')
    if paper and pretrained:
        raise UserError("`--paper` and `--pretrained` are two lists: give one of them.")
    human_readable = format in ("table", "markdown")
    if paper:
        tables = listing.paper_tables() if human_readable else [listing.paper_full_table()]
    elif pretrained or "." in pattern:
        found = list_cards(pattern) or [card(pattern)]
        one = [known for known in found if pattern in (known.name, *known.aliases)]
        if not human_readable:
            tables = [card_listing.cards_full_table(one or found)]
        else:
            tables = [card_listing.card_table(one[0]) if one else card_listing.cards_table(found)]
    else:
        sizes = list_sizes(pattern)
        published = [card.name for card in list_cards() if card.size == pattern]
        tables = [listing.sizes_table(sizes, published) if human_readable else listing.sizes_full_table(sizes)]
    show(tables, format)
