"""`mixlab train`: one model on one set of images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixlab.cli.dry_run import check_dry_run_options, print_dry_run
from mixlab.cli.options import DATA
from mixlab.cli.output import logger
from mixlab.errors import UserError

if TYPE_CHECKING:
    import torch

    from mixlab.data.dataset import Dataset
    from mixlab.runs.folder import Run
    from mixlab.training.linear_probe.recipe import LinearProbeRecipe
    from mixlab.training.recipes.schema import Recipe

Log = Callable[[str], None]


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A name that `mixlab recipes` lists, or a TOML file; else the usual one.")
    ] = None,
    data: Annotated[str | None, typer.Option(help=f"{DATA}.")] = None,
    model: Annotated[str | None, typer.Option(help="A size, published weights, a run, a file, or timm:NAME.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="key=value of the recipe, such as epochs=20.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; else one in the store.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="The folder of a run that was interrupted: go on with it.")
    ] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Without published weights.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and keep nothing.")] = False,
    figure: Annotated[Path | None, typer.Option(help="With --dry-run: keep it as .html, or its rates as .png.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train a model and keep it, with all that is needed to judge, use and repeat it, in a run's folder.

    With --data alone, the images and the device decide how. The same command again, or --resume, goes on with a run
    that was interrupted.
    """
    from mixlab.data.sources import open_dataset
    from mixlab.measure.machine import pick_device
    from mixlab.runs.folder import require_free_folder
    from mixlab.training.distributed import init_distributed
    from mixlab.training.linear_probe.recipe import LinearProbeRecipe
    from mixlab.training.recipes.parse import apply_overrides, parse_recipe

    check_dry_run_options(figure, resume, dry_run=dry_run)
    begun = None if resume is None else _load_resumed(resume, out)
    if begun is not None and begun.state == "done":
        print(f"The run at {begun.path} is finished already.")
        return
    if out is not None:
        require_free_folder(out)
    kind = pick_device()
    processes = init_distributed(kind)
    device = processes.device or kind  # this process's own of several
    main = processes.is_main_process
    log = logger(quiet=quiet or not main)

    def opened(name: str) -> "Dataset":
        with processes.main_process_first():
            dataset = open_dataset(name, quiet=quiet or not main)
        for note in dataset.notes:
            log(note)
        return dataset

    dataset = None
    if recipe is None and begun is None and model is None and data is not None:
        dataset = opened(data)
        name, fields = _summary(dataset, device, log, from_scratch=from_scratch)
    else:
        name, fields = _named(recipe, model, data, begun)
    given = {"data": data, "model": model, "seed": seed}
    fields |= {key: value for key, value in given.items() if value is not None}
    if from_scratch:
        fields["model"] = _without_weights(fields["model"])
    checked = parse_recipe(apply_overrides(fields, set or []), name)
    if not checked.data:
        raise UserError(f"{name} leaves open which images to train on: give them, as --data folder:PATH.")
    if dataset is None:
        with _moved_data_hint(begun, data):
            dataset = opened(checked.data)
    folder = resume or out
    if dry_run:
        print_dry_run(checked, dataset, device, log, figure)
        return
    if isinstance(checked, LinearProbeRecipe):
        run = _train_linear_probe(checked, dataset, device, folder, log, quiet=quiet or not main)
    else:
        run = _train_by_steps(checked, dataset, device, folder, log, quiet=quiet)
    if main:
        _print_summary(run, log)


def _load_resumed(resume: Path, out: Path | None) -> "Run":
    from mixlab.runs.folder import open_any_run

    if out is not None:
        raise UserError(f"--resume {resume} goes on in that folder: leave out --out {out}.")
    return open_any_run(resume)


@contextmanager
def _moved_data_hint(begun: "Run | None", data: str | None) -> Iterator[None]:
    """Images that a run was begun on, and that lie there no more, may lie elsewhere."""
    try:
        yield
    except UserError as error:
        if begun is None or data is not None:
            raise
        raise UserError(f"{error} If the images have moved, say with --data where they lie now.") from error


def _summary(dataset: "Dataset", device: "torch.device", log: Log, *, from_scratch: bool) -> tuple[str, dict[str, Any]]:
    """The recipe of somebody who has said nothing but which images; its name, and its fields."""
    from mixlab.training.recipes import default_recipe

    answer = default_recipe.from_scratch(dataset) if from_scratch else default_recipe.choose_recipe(dataset, device)
    log(answer.why)
    return answer.name, answer.fields


def _named(recipe: str | None, model: str | None, data: str | None, begun: "Run | None") -> tuple[str, dict[str, Any]]:
    """Where the recipe comes from, and its fields."""
    from mixlab.training.recipes.defaults import default_recipe
    from mixlab.training.recipes.recipe_files import read_recipe

    if recipe is not None:
        return recipe, read_recipe(recipe)
    if begun is not None:
        return str(begun.path / "recipe.toml"), begun.recipe
    if model is not None and data is not None:
        return default_recipe(model, data)
    raise UserError("mixlab train needs images: give --data, as digits or folder:PATH, or a RECIPE that names some.")


def _without_weights(model: str) -> str:
    from mixlab.zoo.cards import find_card

    card = find_card(model)
    return card.size if card else model


def _train_by_steps(
    recipe: "Recipe", dataset: "Dataset", device: "torch.device", folder: Path | None, log: Log, *, quiet: bool
) -> "Run":
    from mixlab.measure.machine import device_name
    from mixlab.runs.folder import Run
    from mixlab.runs.store import finished_run
    from mixlab.speed.plan import Plan
    from mixlab.training.distributed import broadcast_from_main, init_distributed
    from mixlab.training.job import resolve
    from mixlab.training.loop import train
    from mixlab.training.planning.autotune import select_plan
    from mixlab.training.trackers import require_trackers

    require_trackers(recipe)
    job = resolve(recipe, dataset, device)
    folder = folder or job.folder()
    if finished := finished_run(folder):
        log("This training is finished already.")
        return finished
    if Run(folder).is_unfinished:
        plan = Plan.from_dict(Run(folder).plan)
        log(f"Going on with the run at {folder}, by its plan: {plan.mode}.")
    else:
        log(f"Device: {device_name(device)}. The plan, by a short trial:")
        plan, seconds = broadcast_from_main(lambda: select_plan(job, log, init_distributed(device).num_processes))
        log(f"  {plan.mode}, {1000 * seconds:.0f} ms a step of {job.batch} images")
        if plan.processes > 1:
            log(f"  {plan.processes} processes share each step; batch normalisation sees a share by itself")
    return train(job, plan, folder, quiet=quiet)


def _train_linear_probe(
    recipe: "LinearProbeRecipe",
    dataset: "Dataset",
    device: "torch.device",
    folder: Path | None,
    log: Log,
    *,
    quiet: bool,
) -> "Run":
    from mixlab.runs.store import finished_run
    from mixlab.training.distributed import broadcast_from_main
    from mixlab.training.linear_probe.train import resolve_linear_probe, train_linear_probe

    job = resolve_linear_probe(recipe, dataset, device)
    for note in job.dataset.notes[len(dataset.notes) :]:
        log(note)
    place = folder or job.folder()
    return broadcast_from_main(lambda: finished_run(place) or train_linear_probe(job, place, quiet=quiet))


def _print_summary(run: "Run", log: Log) -> None:
    from mixlab.runs.journal import read_journal

    (end,) = read_journal(run.journal, "end")
    for image, reason in end["unreadable"].items():
        log(f"{image} was left out: {reason}.")
    evaluated = [epoch["validation"] for epoch in read_journal(run.journal, "epoch")]
    if evaluated[-1] is not None:
        best = max(evaluated, key=lambda validation: validation["top1"])
        log(f"The weights that were kept had {best['top1']:.1f} % of {best['images']} validation images right.")
    print(run.path)
