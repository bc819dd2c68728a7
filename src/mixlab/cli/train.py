"""`mixlab train`: train a model on a dataset."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixlab.cli.dry_run import check_dry_run_options, print_dry_run
from mixlab.cli.options import DATA, Device, TrustCode
from mixlab.cli.output import logger, parse_image_size
from mixlab.errors import UserError
from mixlab.report.progress import Log

if TYPE_CHECKING:
    from mixlab.data.dataset import Dataset
    from mixlab.runs.folder import Run


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="Name from `mixlab recipes`, or a TOML file. Default: chosen for data and model."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classification: one class per image, the default. multilabel: any number of labels. segmentation: "
            "masks. text: one class per text."
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help=f"{DATA}.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Size, published weights, run, file, timm:NAME, variant:NAME or py:FILE.py:NAME."),
    ] = None,
    set: Annotated[
        list[str] | None, typer.Option(help="Override a key of the recipe: optimizer.name=sgd. Can be repeated.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images, as --set epochs=.")] = None,
    batch: Annotated[str | None, typer.Option(help="Images per step, or auto, as --set batch=.")] = None,
    image_size: Annotated[
        str | None, typer.Option(help="Pixels of the model's input: a side, or height x width such as 96x128.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate, as --set optimizer.learning_rate=.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random numbers. Default: from the recipe.")] = None,
    device: Device = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: a new one in $MIXLAB_RUNS or runs/.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="plan.json of a run or a job: its compute mode. Default: measured here.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of an interrupted run to resume.")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Train without published weights.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print an estimate of the training, and do not train.")
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option(help="With --dry-run: .html file for the estimate, or .png for the learning rate curve."),
    ] = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Train a model, and write weights, recipe, journal and report to the folder of a run.

    With --data only, a recipe is chosen for the images and the device. To continue an interrupted run, repeat the
    command or use --resume.
    """
    from mixlab.measure.machine import pick_device
    from mixlab.runs.folder import open_any_run, require_free_folder
    from mixlab.training.distributed import error_on_all_ranks, init_distributed
    from mixlab.training.job_list import read_plan
    from mixlab.training.launch import launch
    from mixlab.training.recipes.choose import choose_recipe, from_scratch_recipe, requested_recipe, without_weights
    from mixlab.training.recipes.for_task import RECIPES, for_task, require_task
    from mixlab.training.recipes.parse import parse_recipe, with_keys
    from mixlab.training.recipes.schema import Recipe
    from mixlab.zoo.architecture import trust_named_code

    check_dry_run_options(figure, resume, dry_run=dry_run)
    if resume is not None and out is not None:
        raise UserError(f"--out {out} has no effect with --resume, which continues in {resume}: remove it.")
    if resume is not None and plan is not None:
        raise UserError(f"--plan {plan} has no effect with --resume, which has a plan: remove it.")
    if plan is not None and dry_run:
        raise UserError("--plan has no effect with --dry-run, which times steps: leave one of them out.")
    resumed = None if resume is None else open_any_run(resume)
    if out is not None and plan is None:  # a job that is finished may be started again: `launch` recognises it
        require_free_folder(out)
    if model is not None:
        trust_named_code(model)
    options = {
        "--task": ("task", task),
        "--data": ("data", data),
        "--model": ("model", model),
        "--epochs": ("epochs", epochs),
        "--batch": ("batch", batch),
        "--image-size": ("image_size", parse_image_size(image_size)),
        "--lr": ("optimizer.learning_rate", lr),
        "--seed": ("seed", seed),
    }
    overrides = _overrides(options, set or [])
    if recipe is None and resumed is None:
        recipe = RECIPES.get(overrides.get("task", ""))
    local_device = pick_device(device)
    processes = init_distributed(local_device)
    if processes.num_processes > 1 and local_device.index is not None:
        raise UserError(
            f"--device {device} names one GPU, but {processes.num_processes} processes were started, each with a GPU "
            "of its own: write --device cuda, or remove it."
        )
    run_device, main = processes.device or local_device, processes.is_main_process
    given_plan = None if plan is None else read_plan(plan, run_device)
    log = logger(quiet=quiet or not main)

    with error_on_all_ranks():
        dataset = None
        if recipe is None and resumed is None and model is None and data is not None:
            known_task = require_task(overrides.get("task", "classification"))
            dataset = _open(data, known_task, log, quiet=quiet or not main)
            chosen = from_scratch_recipe(dataset) if from_scratch else choose_recipe(dataset, run_device, known_task)
            log(chosen.reason)
            name, fields = chosen.name, chosen.fields
        else:
            name, fields = requested_recipe(recipe, model, data, resumed)
        fields = with_keys(for_task(fields, overrides.get("task"), log), overrides)
        if from_scratch:
            fields = without_weights(fields)
        checked = parse_recipe(fields, name)
        if not checked.data:
            raise UserError(f"{name} does not set data: add --data, for example --data folder:PATH.")
        if dataset is None:
            known_task = checked.task if isinstance(checked, Recipe) else "classification"
            hint = data is None
            dataset = _open_data_of_recipe(checked.data, known_task, resumed, log, hint=hint, quiet=quiet or not main)
        if dry_run:
            print_dry_run(checked, dataset, run_device, log, figure)
            return
        run = launch(checked, dataset, run_device, resume or out, given_plan, log=log, quiet=quiet or not main)
    if main:
        _print_summary(run, log)


def _overrides(options: Mapping[str, tuple[str, Any]], settings: list[str]) -> dict[str, Any]:
    """The keys of the recipe that `settings` (--set) and `options` (option -> key and value) give.

    Raises UserError if both give the same key.
    """
    from mixlab.training.recipes.parse import parse_settings

    given = parse_settings(settings)
    for option, (key, value) in options.items():
        if value is not None and key in given:
            raise UserError(f"{option} {value} and --set {key}={given[key]} set the same key: remove one of them.")
    return given | {key: value for key, value in options.values() if value is not None}


def _open(name: str, task: str, log: Log, *, quiet: bool) -> "Dataset":
    """Open a dataset, on the main process first, because it may have to be downloaded or unpacked."""
    from accelerate import PartialState

    from mixlab.data.sources import open_dataset
    from mixlab.tasks.tasks import TASKS

    with PartialState().main_process_first():
        dataset = open_dataset(name, TASKS[task].kinds, quiet=quiet)
    for note in dataset.notes:
        log(note)
    return dataset


def _open_data_of_recipe(
    name: str, task: str, resumed: "Run | None", log: Log, *, hint: bool, quiet: bool
) -> "Dataset":
    """Open the data of a recipe. With `hint`, an error for a resumed run mentions that the samples may have moved."""
    from mixlab.tasks.tasks import noun_of

    try:
        return _open(name, task, log, quiet=quiet)
    except UserError as error:
        if resumed is None or not hint:
            raise
        raise UserError(
            f"{error} If the {noun_of(resumed.recipe)}s were moved, give their path with --data."
        ) from error


def _print_summary(run: "Run", log: Log) -> None:
    from mixlab.evaluation.novelty import MIN_VALIDATION
    from mixlab.runs.history import metric_title, read_history, selecting_metric, selecting_score
    from mixlab.tasks.tasks import TASKS, noun_of

    history = read_history(run.journal)
    validation = history.validation
    for image, reason in (history.end or {}).get("unreadable", {}).items():
        log(f"{image} was skipped: {reason}.")
    for line in history.stopped_early:
        log(f"Stopped early after epoch {line['epoch']}: the validation accuracy did not improve any more.")
    task, noun = TASKS[run.recipe.get("task", "classification")], noun_of(run.recipe)
    if task.embeds_images and (images := 0 if validation is None else validation["images"]) < MIN_VALIDATION:
        log(
            f"mixlab predict will not flag {noun}s unlike the training {noun}s: that needs at least {MIN_VALIDATION} "
            f"validation {noun}s, and this run has {images}."
        )
    if validation is not None:
        name = metric_title(selecting_metric(validation))
        title = "Validation accuracy" if name == "top-1" else f"Validation {name}"
        log(f"{title}: {selecting_score(validation):.1f} % of {validation['images']:,} {noun}s.")
    print(run.path)
