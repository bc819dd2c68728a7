"""`mixlab recipes`: list and print the recipes that are part of mixlab."""

from typing import Annotated

import typer

from mixlab.report.table import Format, print_table, render


def recipes(
    pattern: Annotated[
        str, typer.Argument(help="Start of a name. The exact name of a recipe prints its file.", show_default=False)
    ] = "",
    format: Annotated[Format, typer.Option(help="csv and json have more columns.")] = "table",
) -> None:
    """List the recipes that `mixlab train` accepts by name: from the papers, and for small data and small machines."""
    from mixlab.training.recipes.recipe_files import recipe_text
    from mixlab.training.recipes.recipe_list import list_recipes, recipes_full_table, recipes_table

    names = list_recipes(pattern)
    if format in ("csv", "json"):
        print(render(recipes_full_table([pattern] if pattern in names else names), format), end="")
    elif pattern in names:
        print(recipe_text(pattern), end="")
    elif format == "table":
        print_table(recipes_table(names))
    else:
        print(render(recipes_table(names), format), end="")
