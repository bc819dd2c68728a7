"""`mixlab models`: lists models, published weights and the results of the papers."""

from typing import Annotated

import typer

from mixlab.cli.output import show
from mixlab.errors import UserError
from mixlab.report.table import Format


def models(
    pattern: Annotated[
        str, typer.Argument(help="The beginning of a name; * matches any characters.", show_default=False)
    ] = "",
    paper: Annotated[
        bool, typer.Option("--paper", help="The result tables of the papers, with the counts of mixlab.")
    ] = False,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Published weights; an exact name shows all details.")
    ] = False,
    format: Annotated[Format, typer.Option(help="Output format; csv and json have every field.")] = "table",
) -> None:
    """List models by name, with cost, paper and reported accuracy."""
    from mixlab.zoo import card_listing, listing
    from mixlab.zoo.cards import card, list_cards
    from mixlab.zoo.sizes import list_sizes

    if paper and pattern:
        raise UserError(f'`--paper` lists complete tables: leave out the pattern "{pattern}".')
    if paper and pretrained:
        raise UserError("`--paper` and `--pretrained` can't be combined: give only one of them.")
    human_readable = format not in ("csv", "json")
    if paper:
        tables = listing.paper_tables() if human_readable else [listing.paper_full_table()]
    elif pretrained or "." in pattern:
        matching = list_cards(pattern) or [card(pattern)]
        exact = [known for known in matching if pattern in (known.name, *known.aliases)]
        if not human_readable:
            tables = [card_listing.cards_full_table(exact or matching)]
        else:
            tables = [card_listing.card_table(exact[0]) if exact else card_listing.cards_table(matching)]
    else:
        sizes = list_sizes(pattern)
        published = [card.name for card in list_cards() if card.size == pattern]
        tables = [listing.sizes_table(sizes, published) if human_readable else listing.sizes_full_table(sizes)]
    show(tables, format)
