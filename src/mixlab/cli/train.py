"""`mixlab train`: one model on one set of images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixlab.cli.dry_run import foretell, refuse_without_dry_run
from mixlab.cli.options import DATA
from mixlab.cli.output import sayer
from mixlab.errors import UserError

if TYPE_CHECKING:
    import torch

    from mixlab.data.dataset import Dataset
    from mixlab.runs.folder import Run
    from mixlab.training.linear_probe.recipe import HeadRecipe
    from mixlab.training.recipes.schema import Recipe

Say = Callable[[str], None]


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
    from mixlab.runs.folder import refuse_foreign_folder
    from mixlab.training.distributed import join
    from mixlab.training.linear_probe.recipe import HeadRecipe
    from mixlab.training.recipes.parse import any_recipe_from, with_settings

    refuse_without_dry_run(figure, resume, dry_run=dry_run)
    begun = None if resume is None else _begun(resume, out)
    if begun is not None and begun.state == "done":
        print(f"The run at {begun.path} is finished already.")
        return
    if out is not None:
        refuse_foreign_folder(out)
    kind = pick_device()
    processes = join(kind)
    device = processes.device or kind  # this process's own of several
    main = processes.is_main_process
    say = sayer(quiet=quiet or not main)

    def opened(name: str) -> "Dataset":
        with processes.main_process_first():
            dataset = open_dataset(name, quiet=quiet or not main)
        for note in dataset.notes:
            say(note)
        return dataset

    dataset = None
    if recipe is None and begun is None and model is None and data is not None:
        dataset = opened(data)
        name, fields = _answer(dataset, device, say, from_scratch=from_scratch)
    else:
        name, fields = _named(recipe, model, data, begun)
    given = {"data": data, "model": model, "seed": seed}
    fields |= {key: value for key, value in given.items() if value is not None}
    if from_scratch:
        fields["model"] = _without_weights(fields["model"])
    checked = any_recipe_from(with_settings(fields, set or []), name)
    if not checked.data:
        raise UserError(f"{name} leaves open which images to train on: give them, as --data folder:PATH.")
    if dataset is None:
        with _moved(begun, data):
            dataset = opened(checked.data)
    folder = resume or out
    if dry_run:
        foretell(checked, dataset, device, say, figure)
        return
    if isinstance(checked, HeadRecipe):
        run = _train_head(checked, dataset, device, folder, say, quiet=quiet or not main)
    else:
        run = _train_by_steps(checked, dataset, device, folder, say, quiet=quiet)
    if main:
        _tell(run, say)


def _begun(resume: Path, out: Path | None) -> "Run":
    from mixlab.runs.folder import begun_run

    if out is not None:
        raise UserError(f"--resume {resume} goes on in that folder: leave out --out {out}.")
    return begun_run(resume)


@contextmanager
def _moved(begun: "Run | None", data: str | None) -> Iterator[None]:
    """Images that a run was begun on, and that lie there no more, may lie elsewhere."""
    try:
        yield
    except UserError as error:
        if begun is None or data is not None:
            raise
        raise UserError(f"{error} If the images have moved, say with --data where they lie now.") from error


def _answer(dataset: "Dataset", device: "torch.device", say: Say, *, from_scratch: bool) -> tuple[str, dict[str, Any]]:
    """The recipe of somebody who has said nothing but which images; its name, and its fields."""
    from mixlab.training.recipes import default_recipe

    answer = default_recipe.from_scratch(dataset) if from_scratch else default_recipe.first_answer(dataset, device)
    say(answer.why)
    return answer.name, answer.fields


def _named(recipe: str | None, model: str | None, data: str | None, begun: "Run | None") -> tuple[str, dict[str, Any]]:
    """Where the recipe comes from, and its fields."""
    from mixlab.training.recipes.defaults import usual_recipe
    from mixlab.training.recipes.recipe_files import read_recipe

    if recipe is not None:
        return recipe, read_recipe(recipe)
    if begun is not None:
        return str(begun.path / "recipe.toml"), begun.recipe
    if model is not None and data is not None:
        return usual_recipe(model, data)
    raise UserError("mixlab train needs images: give --data, as digits or folder:PATH, or a RECIPE that names some.")


def _without_weights(model: str) -> str:
    from mixlab.zoo.cards import find_card

    card = find_card(model)
    return card.size if card else model


def _train_by_steps(
    recipe: "Recipe", dataset: "Dataset", device: "torch.device", folder: Path | None, say: Say, *, quiet: bool
) -> "Run":
    from mixlab.measure.machine import device_name
    from mixlab.runs.folder import Run
    from mixlab.runs.store import finished_run
    from mixlab.speed.plan import Plan
    from mixlab.training.distributed import join, only_once
    from mixlab.training.job import resolve
    from mixlab.training.loop import train
    from mixlab.training.planning.autotune import decide_plan
    from mixlab.training.trackers import require_trackers

    require_trackers(recipe)
    job = resolve(recipe, dataset, device)
    folder = folder or job.folder()
    if finished := finished_run(folder):
        say("This training is finished already.")
        return finished
    if Run(folder).is_unfinished:
        plan = Plan.from_dict(Run(folder).plan)
        say(f"Going on with the run at {folder}, by its plan: {plan.mode}.")
    else:
        say(f"Device: {device_name(device)}. The plan, by a short trial:")
        plan, seconds = only_once(lambda: decide_plan(job, say, join(device).num_processes))
        say(f"  {plan.mode}, {1000 * seconds:.0f} ms a step of {job.batch} images")
        if plan.processes > 1:
            say(f"  {plan.processes} processes share each step; batch normalisation sees a share by itself")
    return train(job, plan, folder, quiet=quiet)


def _train_head(
    recipe: "HeadRecipe", dataset: "Dataset", device: "torch.device", folder: Path | None, say: Say, *, quiet: bool
) -> "Run":
    from mixlab.runs.store import finished_run
    from mixlab.training.distributed import only_once
    from mixlab.training.linear_probe.train import resolve_head, train_head

    job = resolve_head(recipe, dataset, device)
    for note in job.dataset.notes[len(dataset.notes) :]:
        say(note)
    place = folder or job.folder()
    return only_once(lambda: finished_run(place) or train_head(job, place, quiet=quiet))


def _tell(run: "Run", say: Say) -> None:
    from mixlab.runs.journal import read_journal

    (end,) = read_journal(run.journal, "end")
    for image, reason in end["unreadable"].items():
        say(f"{image} was left out: {reason}.")
    judged = [epoch["validation"] for epoch in read_journal(run.journal, "epoch")]
    if judged[-1] is not None:
        best = max(judged, key=lambda validation: validation["top1"])
        say(f"The weights that were kept had {best['top1']:.1f} % of {best['images']} validation images right.")
    print(run.path)
