"""`mixlab compare`: the main job."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mixlab.cli.output import image_size_of, output_folder, sayer


def compare(
    data: Annotated[str, typer.Option(help="digits, cifar10 or folder:PATH.")],
    models: Annotated[
        str | None, typer.Option(help="Names with commas between; any that `mixlab models` lists, or timm:NAME.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each model.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Of each training; else the recipes' own.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Of the whole comparison, shared equally.")] = None,
    image_size: Annotated[str | None, typer.Option(help="Pixels, as 64 or 64x48; else each model's own.")] = None,
    match: Annotated[
        Literal["parameters", "macs", "seconds"] | None, typer.Option(help="What the others get of the first model.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for report.html and results.json.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train models on your pictures and say, with intervals, which one to take and why."""
    from mixlab.data.sources import open_dataset
    from mixlab.files import whole_folder, write_json, write_text
    from mixlab.report.table import print_table
    from mixlab.studies.compare import compare as run_comparison
    from mixlab.studies.compare_page import compare_page
    from mixlab.studies.comparison_tables import tables
    from mixlab.studies.contenders import DEFAULT_MODELS
    from mixlab.studies.terms import Terms

    terms = Terms(seeds=seeds, epochs=epochs, minutes=minutes, image_size=image_size_of(image_size), match=match)
    folder = output_folder(out, "compare", data)
    names = [name.strip() for name in models.split(",")] if models is not None else DEFAULT_MODELS
    comparison = run_comparison(names, open_dataset(data, quiet=quiet), terms, quiet=quiet, say=sayer(quiet=quiet))
    with whole_folder(folder) as part:
        write_json(part / "results.json", comparison.results())
        write_text(part / "report.html", compare_page(comparison).html())
    for table in tables(comparison):
        print_table(table)
        print()
    print(f"{comparison.answer}\n{comparison.detectable}\n\nThe report: {folder / 'report.html'}")
