"""`mixlab train`: one model on one dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixlab.cli.dry_run import check_dry_run_options, print_dry_run
from mixlab.cli.options import DATA, TrustCode
from mixlab.cli.output import Log, logger
from mixlab.errors import UserError

if TYPE_CHECKING:
    from mixlab.data.dataset import Dataset
    from mixlab.runs.folder import Run


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A name that `mixlab recipes` lists, or a TOML file; else a default recipe.")
    ] = None,
    data: Annotated[str | None, typer.Option(help=f"{DATA}.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A size, published weights, a run, a file, timm:NAME, variant:NAME or py:FILE.py:NAME."),
    ] = None,
    set: Annotated[list[str] | None, typer.Option(help="key=value of the recipe, such as epochs=20.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; else one in the store.")] = None,
    resume: Annotated[Path | None, typer.Option(help="The folder of an interrupted run: resume it.")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Without published weights.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be trained, and write nothing.")] = False,
    figure: Annotated[
        Path | None, typer.Option(help="With --dry-run: write it to an .html file, or the learning rate to a .png.")
    ] = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train a model, and write the weights, recipe, journal and report into a run's folder.

    With --data alone, a recipe is chosen by the images and the device. The same command again, or --resume, continues
    an interrupted run.
    """
    from mixlab.measure.machine import pick_device
    from mixlab.runs.folder import open_any_run, require_free_folder
    from mixlab.training.distributed import init_distributed
    from mixlab.training.launch import launch
    from mixlab.training.recipes.choose import choose_recipe, from_scratch_recipe, requested_recipe, without_weights
    from mixlab.training.recipes.parse import apply_overrides, parse_recipe
    from mixlab.zoo.architecture import trust_named_code

    check_dry_run_options(figure, resume, dry_run=dry_run)
    if resume is not None and out is not None:
        raise UserError(f"--resume {resume} continues in that folder: remove --out {out}.")
    resumed = None if resume is None else open_any_run(resume)
    if resumed is not None and resumed.is_finished:
        print(f"The run at {resumed.path} is finished already.")
        return
    if out is not None:
        require_free_folder(out)
    if model is not None:
        trust_named_code(model)
    kind = pick_device()
    processes = init_distributed(kind)
    device, main = processes.device or kind, processes.is_main_process
    log = logger(quiet=quiet or not main)

    dataset = None
    if recipe is None and resumed is None and model is None and data is not None:
        dataset = _open(data, log, quiet=quiet or not main)
        chosen = from_scratch_recipe(dataset) if from_scratch else choose_recipe(dataset, device)
        log(chosen.why)
        name, fields = chosen.name, chosen.fields
    else:
        name, fields = requested_recipe(recipe, model, data, resumed)
    given = {"data": data, "model": model, "seed": seed}
    fields |= {key: value for key, value in given.items() if value is not None}
    if from_scratch:
        fields["model"] = without_weights(fields["model"])
    checked = parse_recipe(apply_overrides(fields, set or []), name)
    if not checked.data:
        raise UserError(f"{name} does not name the data: give them, for example --data folder:PATH.")
    if dataset is None:
        dataset = _open_data_of(checked.data, resumed, log, hint=data is None, quiet=quiet or not main)
    if dry_run:
        print_dry_run(checked, dataset, device, log, figure)
        return
    run = launch(checked, dataset, device, resume or out, log=log, quiet=quiet or not main)
    if main:
        _print_summary(run, log)


def _open(name: str, log: Log, *, quiet: bool) -> "Dataset":
    """Opened by the main process first, which may have to unpack or download it."""
    from accelerate import PartialState

    from mixlab.data.sources import open_dataset

    with PartialState().main_process_first():
        dataset = open_dataset(name, quiet=quiet)
    for note in dataset.notes:
        log(note)
    return dataset


def _open_data_of(name: str, resumed: "Run | None", log: Log, *, hint: bool, quiet: bool) -> "Dataset":
    """The images of a run that is resumed may have been moved."""
    try:
        return _open(name, log, quiet=quiet)
    except UserError as error:
        if resumed is None or not hint:
            raise
        raise UserError(f"{error} If the images were moved, give their place with --data.") from error


def _print_summary(run: "Run", log: Log) -> None:
    from mixlab.runs.history import read_history

    history = read_history(run.journal)
    for image, reason in (history.end or {}).get("unreadable", {}).items():
        log(f"{image} was skipped: {reason}.")
    if (validation := history.validation) is not None:
        log(f"Validation accuracy of the run's weights: {validation['top1']:.1f} % of {validation['images']:,} images.")
    print(run.path)
