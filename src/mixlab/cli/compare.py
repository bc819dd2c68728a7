"""`mixlab compare`: compare models on your images or texts and recommend one."""

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mixlab.cli.executors import Jobs, Ray, trainings_on
from mixlab.cli.options import DATA, TrustCode, split_names, trust_given_code
from mixlab.cli.output import logger, output_folder, parse_image_size, show
from mixlab.errors import UserError
from mixlab.report.table import Format

if TYPE_CHECKING:
    from mixlab.comparison.settings import ComparisonSettings


def compare(
    data: Annotated[str, typer.Option(help=f"{DATA}. For other tasks: as `mixlab train` reads them.")],
    task: Annotated[
        str,
        typer.Option(help="classification: one class per image. multilabel: any number. segmentation: masks. text."),
    ] = "classification",
    models: Annotated[
        str | None, typer.Option(help="Comma-separated: models to train (sizes, timm:NAME), or published weights.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Folds for published weights. Default: 5 for fewer than 5,000 images.")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train the models, whatever the image size.")
    ] = False,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each model. Default: 3.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each training. Default: from the recipe.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Duration of the whole comparison, shared equally.")] = None,
    image_size: Annotated[
        str | None, typer.Option(help="Pixels, for example 64 or 64x48. Default: the size of each model.")
    ] = None,
    match: Annotated[
        Literal["parameters", "macs", "seconds"] | None, typer.Option(help="Match this quantity of the first model.")
    ] = None,
    tune: Annotated[
        int | None, typer.Option(help="Tune every model with this many random trials on the training images.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Points: recommend a model at most this far behind the best. Default: 1.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for report.html, results.json and figures.")] = None,
    format: Annotated[Format, typer.Option(help="Output format of the tables.")] = "table",
    jobs: Jobs = None,
    ray: Ray = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Compare models on your images or texts and recommend one, with intervals.

    Models are trained from scratch on small images, and for other tasks than classification. For larger images with one
    class each, heads are fitted on published weights.
    """
    from mixlab.comparison import compare_page, methods, pretrained_page
    from mixlab.comparison.compare import compare as compare_trained
    from mixlab.comparison.compare_pretrained import compare_pretrained, compares_pretrained, default_weights
    from mixlab.comparison.comparison_tables import tables
    from mixlab.comparison.pretrained_tables import pretrained_tables
    from mixlab.comparison.ranking import DEFAULT_MARGIN
    from mixlab.comparison.tasks.all import compared_task
    from mixlab.comparison.tasks.classification import IMAGES
    from mixlab.data.sources import open_dataset
    from mixlab.files import atomic_folder
    from mixlab.report.result_folder import write_result_files

    compared = compared_task(task)
    names = None if models is None else list(split_names(models))
    trust_given_code(names)
    training_options = {
        "seeds": seeds,
        "epochs": epochs,
        "minutes": minutes,
        "image-size": image_size,
        "match": match,
        "tune": tune,
    }
    margin = DEFAULT_MARGIN if margin is None else margin
    folder = output_folder(out, "compare", data)
    dataset = open_dataset(data, compared.task.kinds, quiet=quiet)
    if compared is IMAGES and not from_scratch and compares_pretrained(names, dataset):
        _reject_training_options(training_options | {"jobs": jobs, "ray": ray})
        pretrained = compare_pretrained(
            names or default_weights(), dataset, folds, margin=margin, quiet=quiet, log=logger(quiet=quiet)
        )
        result_tables, page = pretrained_tables(pretrained), pretrained_page.pretrained_page(pretrained)
        results, repeated = pretrained.results(), pretrained_page.repeating_command(pretrained)
        paper = methods.of_pretrained(pretrained)
        sentences = [pretrained.conclusion, pretrained.detectable, pretrained.warning]
    else:
        settings = _settings(folds, training_options)
        _reject_measured_lengths(settings, jobs, ray)
        with trainings_on(jobs, ray):
            trained = compare_trained(
                names or compared.models,
                dataset,
                settings,
                compared=compared,
                margin=margin,
                quiet=quiet,
                log=logger(quiet=quiet),
            )
        result_tables, page = tables(trained), compare_page.compare_page(trained)
        results, repeated = trained.results(), compare_page.repeating_command(trained)
        paper = methods.of_trained(trained)
        sentences = [trained.conclusion, trained.detectable]
    described = {
        "title": page.title,
        "command": repeated,
        "date": date.today().isoformat(),
        "summary": sentences[0],
        "notes": sentences[1:],
        **asdict(paper),
        "tables": [table.to_dict() for table in result_tables],
    }
    with atomic_folder(folder) as temporary:
        write_result_files(temporary, page, results | described)
    show(result_tables, format)
    say = print if format == "table" else logger(quiet=False)
    say("\n".join(sentences))
    say(f"\nReport: {folder / 'report.html'}")


def _reject_training_options(training_options: dict[str, Any]) -> None:
    for option, value in training_options.items():
        if value is not None:
            raise UserError(
                f"--{option} {value} has no effect on published weights, which are not trained: remove it, or use "
                "--from-scratch to train models."
            )


def _reject_measured_lengths(settings: "ComparisonSettings", jobs: Path | None, ray: str | None) -> None:
    """Raises UserError if the time on one machine sets the length of a training, and there may be several machines."""
    option = "--ray" if jobs is None else f"--jobs {jobs}"
    given = "--match seconds" if settings.match == "seconds" else f"--minutes {settings.minutes or 0:g}"
    if (jobs is not None or ray is not None) and (settings.minutes is not None or settings.match == "seconds"):
        raise UserError(
            f"{given} needs all trainings on one machine, but {option} may use several: give --epochs, or remove "
            f"{option.split()[0]}."
        )


def _settings(folds: int | None, training_options: dict[str, Any]) -> "ComparisonSettings":
    from mixlab.comparison.settings import ComparisonSettings

    if folds is not None:
        raise UserError(
            f"--folds {folds} applies to published weights only: models that are trained from scratch are evaluated on "
            "the test split. Remove it."
        )
    given = {name: value for name, value in training_options.items() if value is not None and name != "image-size"}
    return ComparisonSettings(**given, image_size=parse_image_size(training_options["image-size"]))
