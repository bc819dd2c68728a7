"""`mixlab recipes`: the ways of training that come with mixlab."""

from typing import Annotated

import typer

from mixlab.report.table import Format, print_table, render


def recipes(
    pattern: Annotated[
        str, typer.Argument(help="The beginning of a name; the exact name of one shows its file.", show_default=False)
    ] = "",
    format: Annotated[Format, typer.Option(help="csv and json have more columns.")] = "table",
) -> None:
    """List the recipes that `mixlab train` takes by name: the papers', and ours for small data and small machines."""
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
