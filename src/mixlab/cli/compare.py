"""`mixlab compare`: the main job."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mixlab.cli.options import DATA
from mixlab.cli.output import logger, output_folder, parse_image_size, show
from mixlab.errors import UserError

if TYPE_CHECKING:
    from mixlab.comparison.comparison import Comparison
    from mixlab.comparison.pretrained_comparison import PretrainedComparison
    from mixlab.data.dataset import Dataset


def compare(
    data: Annotated[str, typer.Option(help=f"{DATA}.")],
    models: Annotated[
        str | None, typer.Option(help="Names with commas between: sizes and timm:NAME, or published weights.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Of published weights' images; else 5 below 5,000.")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Train, whatever the images' size.")] = False,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each model; else 3.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of each training; else the recipes' own.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Of the whole comparison, shared equally.")] = None,
    image_size: Annotated[str | None, typer.Option(help="Pixels, as 64 or 64x48; else each model's own.")] = None,
    match: Annotated[
        Literal["parameters", "macs", "seconds"] | None, typer.Option(help="What the others get of the first model.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for report.html and results.json.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Compare models on your images and say, with intervals, which one to take and why.

    Small images: models are trained from scratch. Larger ones: heads in closed form on published weights.
    """
    from mixlab.comparison.compare_page import compare_page
    from mixlab.comparison.compare_pretrained import compares_pretrained
    from mixlab.comparison.comparison_tables import tables
    from mixlab.comparison.pretrained_page import pretrained_page
    from mixlab.comparison.pretrained_tables import pretrained_tables
    from mixlab.data.sources import open_dataset
    from mixlab.files import atomic_folder, write_json, write_text

    names = None if models is None else [name.strip() for name in models.split(",")]
    trainings = {"seeds": seeds, "epochs": epochs, "minutes": minutes, "image-size": image_size, "match": match}
    folder = output_folder(out, "compare", data)
    dataset = open_dataset(data, quiet=quiet)
    if not from_scratch and compares_pretrained(names, dataset):
        published = _published(names, dataset, folds, trainings, quiet=quiet)
        shown, page, results = pretrained_tables(published), pretrained_page(published), published.results()
        said = [published.answer, published.detectable, published.warning]
    else:
        trained = _trained(names, dataset, folds, trainings, quiet=quiet)
        shown, page, results = tables(trained), compare_page(trained), trained.results()
        said = [trained.answer, trained.detectable]
    with atomic_folder(folder) as temporary:
        write_json(temporary / "results.json", results)
        write_text(temporary / "report.html", page.html())
    show(shown, "table")
    print("\n".join(said))
    print(f"\nThe report: {folder / 'report.html'}")


def _published(
    names: list[str] | None, dataset: "Dataset", folds: int | None, trainings: dict[str, Any], *, quiet: bool
) -> "PretrainedComparison":
    from mixlab.comparison.compare_pretrained import compare_pretrained, default_weights

    for option, value in trainings.items():
        if value is not None:
            raise UserError(
                f"--{option} {value} is for trainings, and published weights are compared as they are: leave it out, "
                "or train models of your own with --from-scratch."
            )
    return compare_pretrained(names or default_weights(), dataset, folds, quiet=quiet, log=logger(quiet=quiet))


def _trained(
    names: list[str] | None, dataset: "Dataset", folds: int | None, trainings: dict[str, Any], *, quiet: bool
) -> "Comparison":
    from mixlab.comparison.candidates import DEFAULT_MODELS
    from mixlab.comparison.compare import compare
    from mixlab.comparison.settings import ComparisonSettings

    if folds is not None:
        raise UserError(
            f"--folds {folds} is for published weights, whose heads are fitted in a moment: here models are trained "
            "from scratch and judged on the test part, so leave it out."
        )
    given = {name: value for name, value in trainings.items() if value is not None and name != "image-size"}
    settings = ComparisonSettings(**given, image_size=parse_image_size(trainings["image-size"]))
    return compare(names or DEFAULT_MODELS, dataset, settings, quiet=quiet, log=logger(quiet=quiet))
