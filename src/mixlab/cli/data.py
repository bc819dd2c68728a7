"""`mixlab data`: check a dataset, find wrong labels, or preview the images that a model gets."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixlab.cli.executors import Jobs, Ray, trainings_on
from mixlab.cli.options import DATA, TrustCode, trust_given_code
from mixlab.cli.output import logger, output_folder, require_empty_folder, show
from mixlab.errors import UserError
from mixlab.report.table import Format

if TYPE_CHECKING:
    from mixlab.data.dataset import Dataset

data = typer.Typer(
    no_args_is_help=False, help="Check a dataset, find wrong labels, or preview the images that a model gets."
)


@data.command()
def check(
    source: Annotated[str, typer.Argument(metavar="DATA", help=f"{DATA}.")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read images. Default: one per core.")
    ] = None,
    format: Annotated[Format, typer.Option(help="csv and json list every finding by image.")] = "table",
    out: Annotated[Path | None, typer.Option(help="New folder for report.html and results.json.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Find unreadable images, duplicates, also between train and test, and unusual images. Nothing is changed."""
    from mixlab.data.inspection.check import check_images
    from mixlab.data.inspection.check_page import check_page
    from mixlab.data.inspection.findings import full_table, results, tables
    from mixlab.data.sources import open_as_provided
    from mixlab.files import atomic_folder, write_json, write_text
    from mixlab.measure.machine import usable_cores

    if out is not None:
        require_empty_folder(out)
    log = logger(quiet=quiet)
    dataset = open_as_provided(source, quiet=quiet)
    for note in dataset.notes:
        log(note)
    _refuse_sounds(source, dataset, "check", "`mixlab train` names unreadable files")
    checked = check_images(dataset, workers=workers or usable_cores(), quiet=quiet)
    match format:
        case "json":
            print(json.dumps(results(checked), indent=2, ensure_ascii=False))
        case "csv":
            show([full_table(checked)], format)
        case _:
            show(tables(checked), format)
    if out is not None:
        page = check_page(checked).html()
        with atomic_folder(out) as temporary:
            write_json(temporary / "results.json", results(checked))
            write_text(temporary / "report.html", page)
        log(f"Report: {out / 'report.html'}")


@data.command()
def labels(
    source: Annotated[str, typer.Argument(metavar="DATA", help=f"{DATA}.")],
    model: Annotated[
        str | None,
        typer.Option(help="Weights whose features are used, or a model to train. Default: chosen by the image size."),
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds: each image is predicted without its own.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="New folder for report.html, labels.csv and results.json. Default: in runs/.")
    ] = None,
    jobs: Jobs = None,
    ray: Ray = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Find labels that are probably wrong, and write a table to correct them. Nothing is changed."""
    from mixlab.comparison.label_errors import find_label_errors
    from mixlab.comparison.label_errors_page import label_errors_page, suspects_table
    from mixlab.comparison.label_table import TABLE, write_label_table
    from mixlab.data.sources import open_dataset
    from mixlab.files import atomic_folder, write_json, write_text

    folder = output_folder(out, "labels", source)
    log = logger(quiet=quiet)
    dataset = open_dataset(source, quiet=quiet)
    for note in dataset.notes:
        log(note)
    _refuse_sounds(source, dataset, "labels", "`mixlab evaluate` lists the most confident errors of a run")
    trust_given_code(model)
    with trainings_on(jobs, ray):
        found = find_label_errors(dataset, model, folds, quiet=quiet, log=log)
    if not found.trained and (jobs is not None or ray is not None):
        log(f"--{'ray' if jobs is None else 'jobs'} had no effect: no model is trained with {found.model}.")
    with atomic_folder(folder) as temporary:
        write_json(temporary / "results.json", found.results())
        write_text(temporary / "report.html", label_errors_page(found, folder).html())
        notes = write_label_table(found, temporary)
    if found.suspects:
        show([suspects_table(found)], "table")
    print("\n".join([found.conclusion, found.estimate, *notes]))
    print(f"\nReport: {folder / 'report.html'}\nTable: {folder / TABLE}")


@data.command()
def preview(
    source: Annotated[str, typer.Argument(metavar="DATA", help=f"{DATA}.")],
    recipe: Annotated[str, typer.Option(help="Name from `mixlab recipes`, or a TOML file.")],
    images: Annotated[int, typer.Option(min=2, help="Number of images.")] = 12,
    set: Annotated[list[str] | None, typer.Option(help="Override a key of the recipe, as in mixlab train.")] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for report.html. Default: a folder in runs/.")] = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Preview training images as a recipe augments and mixes them, with their labels."""
    import torch

    from mixlab.data.sources import open_dataset
    from mixlab.files import atomic_folder, write_text
    from mixlab.tasks.tasks import TASKS
    from mixlab.training.job import resolve
    from mixlab.training.planning.preview import preview as previewed
    from mixlab.training.planning.preview_page import preview_page
    from mixlab.training.recipes.parse import apply_overrides, parse_training_recipe
    from mixlab.training.recipes.recipe_files import read_recipe

    out = output_folder(out, "preview", source)
    fields = read_recipe(recipe) | {"data": source}
    if "linear_probe" in fields:
        raise UserError(
            f"{recipe} is a linear probe, which does not augment or mix images: give a recipe with [augmentation]."
        )
    checked = parse_training_recipe(apply_overrides(fields, set or []), recipe)
    log = logger(quiet=quiet)
    dataset = open_dataset(checked.data, TASKS[checked.task].kinds, quiet=quiet)
    for note in dataset.notes:
        log(note)
    result = previewed(resolve(checked, dataset, torch.device("cpu")), images, quiet=quiet)
    for name, reason in result.unreadable.items():
        log(f"{name} can't be read: {reason}.")
    with atomic_folder(out) as temporary:
        write_text(temporary / "report.html", preview_page(result).html())
    print(out / "report.html")


def _refuse_sounds(source: str, dataset: "Dataset", verb: str, instead: str) -> None:
    from mixlab.data.decoding import has_sounds

    if has_sounds(next(iter(dataset.splits.values()))):
        raise UserError(f"{source} has sounds, and mixlab data {verb} is for images: {instead}.")
