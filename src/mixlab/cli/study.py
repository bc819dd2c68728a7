"""`mixlab study`: experiments of the papers, one command per study. Its options are the fields of the study's settings.

A study is a module of `mixlab.studies` with a docstring that begins with its question, a string `COST`, and a dataclass
`Settings`. A study with trainings has the functions `arms` and `conclude` (`mixlab.studies.arms`), any other one a
function `run`; a string `TASK` names another task than classification. It is imported only when its command is used. If
it takes a dataset, the command has the option --data, whose default is the string `DATA`; without one it is required.
"""

import ast
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib import import_module
from importlib.resources import files
from inspect import Parameter, Signature, signature
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin, get_type_hints

import typer
from typer.core import TyperGroup
from typer.main import get_command_from_info
from typer.models import CommandInfo

from mixlab.cli.executors import Jobs, Ray, trainings_on
from mixlab.cli.options import DATA, TrustCode, split_names, trust_given_code
from mixlab.cli.output import logger, output_folder, show
from mixlab.errors import UserError, did_you_mean
from mixlab.report.table import Column, Format, Table

if TYPE_CHECKING:
    from mixlab.evaluation.unseen_images import UnseenImages
    from mixlab.studies.arms import TrainedArms
    from mixlab.studies.result import StudyResult


def study_names() -> list[str]:
    """The sorted names of all studies."""
    return sorted(_commands())


class _Studies(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return study_names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command for the list of commands in the help: without options, so that no study is imported."""
        return self._made(cmd_name, lambda: None)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str, Any, list[str]]:
        name, *others = args
        names = study_names()
        if name not in names:
            hint = did_you_mean(name, names)
            raise UserError(f'There is no study "{name}": the studies are {", ".join(names)}. {hint}'.rstrip())
        return name, self._made(name, _command(name)), others

    @staticmethod
    def _made(name: str, function: Callable[..., None]) -> Any:
        info = CommandInfo(name=name, callback=function, help=ast.get_docstring(_commands()[name]))
        return get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=None)


study = typer.Typer(cls=_Studies, help="Repeat an experiment of the papers on your images, with confidence intervals.")


@study.callback(invoke_without_command=True)
def list_studies(
    context: typer.Context,
    format: Annotated[Format, typer.Option(help="Output format of the list of studies.")] = "table",
) -> None:
    """Repeat an experiment of the papers on your images, with confidence intervals.

    Without the name of a study, list the studies with their questions and costs.
    """
    if context.invoked_subcommand is None:
        show([_list(_commands())], format)


def _list(modules: Mapping[str, ast.Module]) -> Table:
    rows = [
        {
            "study": name,
            "question": (ast.get_docstring(modules[name]) or "").partition("\n")[0],
            "cost": _cost(modules[name]),
        }
        for name in sorted(modules)
    ]
    columns = [Column("study", "study"), Column("question", "question"), Column("cost", "cost at the default")]
    note = "`mixlab study NAME --data DATA --dry-run` estimates the hours of a study with trainings on this machine."
    return Table("Studies", columns, rows, [note])


def _command(name: str) -> Callable[..., None]:
    """The function of a command, with an option for every field of the study's settings."""
    module = import_module(f"mixlab.studies.{name.replace('-', '_')}")
    hints = get_type_hints(module.Settings)
    run = _run_trainings if hasattr(module, "arms") else _run
    takes_dataset = hasattr(module, "arms") or "dataset" in signature(module.run).parameters
    common = _COMMON | (_OF_TRAININGS if hasattr(module, "arms") else {})

    def command(**given: Any) -> None:
        from mixlab.studies.result import claims_table
        from mixlab.studies.stored_result import write_result

        started = perf_counter()
        chosen = {option: given.pop(option) for option in common}
        data = given.pop("data", None)
        trust_given_code(*given.values())
        settings = module.Settings(**{field: _parsed(value, hints[field]) for field, value in given.items()})
        folder = _folder(chosen["out"], name, data or given.get("model") or "")
        with trainings_on(chosen.get("jobs"), chosen.get("ray")):
            ran = run(module, data, settings, chosen)
        if ran is None:
            return
        findings = ran.result.findings()
        of_trainings = {"tuned": chosen.get("tuned"), "speed": chosen.get("speed", "auto")}
        repeated = _command_line(name, {"data": data, **_changed(settings), **of_trainings})
        write_result(
            folder,
            ran.result,
            command=repeated,
            seconds=perf_counter() - started,
            trained=ran.trained,
            data=ran.data,
            notes=ran.notes,
        )
        show([*([claims_table(findings)] if findings else []), *ran.result.tables()], chosen["format"])
        log = logger(quiet=False) if chosen["format"] != "table" else print
        for note in (*ran.notes, f"Report: {folder / 'report.html'}"):
            log(note)

    options: list[Parameter] = []
    if takes_dataset:
        default_data = getattr(module, "DATA", Parameter.empty)
        options.append(_parameter("data", Annotated[str, typer.Option(help=f"{DATA}.")], default_data))
    for setting in fields(module.Settings):
        limits = {key: value for key, value in setting.metadata.items() if key in ("min", "max")}
        option = typer.Option(help=setting.metadata.get("help"), **limits)
        listed = get_origin(hints[setting.name]) is tuple
        annotation = str if listed else hints[setting.name]
        default: Any = Parameter.empty if setting.default is MISSING else setting.default
        default = ",".join(default) if listed else default
        options.append(_parameter(setting.name, Annotated[annotation, option], default))
    options += [_parameter(option, annotation, default) for option, (annotation, default) in common.items()]
    command.__signature__ = Signature(options)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {option.name: option.annotation for option in options}
    return command


_COMMON: dict[str, tuple[Any, Any]] = {
    "format": (Annotated[Format, typer.Option(help="Output format of the tables.")], "table"),
    "out": (Annotated[Path | None, typer.Option(help="New folder for report.html, results.json and figures.")], None),
    "quiet": (Annotated[bool, typer.Option("--quiet", help="Do not show progress.")], False),
    "trust_code": (TrustCode, False),
}
_OF_TRAININGS: dict[str, tuple[Any, Any]] = {
    "jobs": (Jobs, None),
    "ray": (Ray, None),
    "speed": (
        Annotated[Literal["auto", "off"], typer.Option(help="off: eager execution in fp32, without timing.")],
        "auto",
    ),
    "tuned": (
        Annotated[
            Path | None,
            typer.Option(
                help="Folder of a comparison with --tune, whose settings replace those of the default recipes."
            ),
        ],
        None,
    ),
    "dry_run": (
        Annotated[bool, typer.Option("--dry-run", help="Print trainings, hours and disk space without training.")],
        False,
    ),
    "pilot": (
        Annotated[
            bool,
            typer.Option(
                "--pilot",
                help="Print the repetitions that each claim needs, from trainings that leave a fifth of the training "
                "images out, and are evaluated on it. Not for dense, spoken-digits and text.",
            ),
        ],
        False,
    ),
}


@dataclass(frozen=True)
class _Ran:
    """The result of a study, what is stored about its data, notes about them, and the trained arms."""

    result: "StudyResult"
    data: Mapping[str, str | int | None] = field(default_factory=dict)
    notes: Sequence[str] = ()
    trained: "TrainedArms | None" = None


def _run(module: Any, data: str | None, settings: Any, chosen: Mapping[str, Any]) -> _Ran:
    quiet = chosen["quiet"]
    if data is None:
        return _Ran(module.run(settings, quiet=quiet, log=logger(quiet=quiet)))
    unseen = _open(data, module, quiet=quiet)
    result = module.run(unseen.dataset, settings, quiet=quiet, log=logger(quiet=quiet))
    return _Ran(result, _stored_data(unseen), _data_notes(unseen))


def _run_trainings(module: Any, data: str | None, settings: Any, chosen: Mapping[str, Any]) -> _Ran | None:
    """None for --dry-run, which prints the costs, and for --pilot, which prints the repetitions."""
    from mixlab.studies.arms import plan_arms
    from mixlab.studies.pilot import on_left_out_images, pilot_arms, repetitions_table
    from mixlab.studies.tuned import read_tuned
    from mixlab.training.executor import chosen_executor, trained_by
    from mixlab.training.planning.stored_plans import plans_without_storing
    from mixlab.training.runner import LocalProcesses

    assert data is not None
    quiet = chosen["quiet"]
    log = logger(quiet=quiet)
    unseen = _open(data, module, quiet=quiet)
    tuned = None if chosen["tuned"] is None else read_tuned(chosen["tuned"])
    arms = module.arms(unseen.dataset, settings)
    if tuned is not None:
        arms = tuned.applied(arms)
    if chosen["pilot"]:
        arms = pilot_arms(arms, unseen.dataset)
    if chosen["dry_run"]:
        with trained_by(chosen_executor() or LocalProcesses(plans_without_storing)):
            planned = plan_arms(arms, unseen.dataset, log, speed=chosen["speed"])
        show([planned.costs()], chosen["format"])
        return None
    planned = plan_arms(arms, unseen.dataset, log, speed=chosen["speed"])
    trained = planned.train(log=log, quiet=quiet)
    if chosen["pilot"]:
        findings = module.conclude(on_left_out_images(trained), settings).findings()
        show([repetitions_table(findings)], chosen["format"])
        return None
    result = module.conclude(trained, settings)
    notes = [*_data_notes(unseen), *([] if tuned is None else [tuned.note])]
    return _Ran(result, _stored_data(unseen), notes, trained)


def _stored_data(unseen: "UnseenImages") -> dict[str, str | int | None]:
    return {
        "data_fingerprint": unseen.dataset.fingerprint,
        "left_out": unseen.left_out,
        "near_copies": unseen.near_copies,
    }


def _data_notes(unseen: "UnseenImages") -> Sequence[str]:
    return (*unseen.dataset.notes, *unseen.notes)


def _open(data: str, module: Any, *, quiet: bool) -> "UnseenImages":
    """Open the data of a study's `TASK`; default: classification."""
    from mixlab.data.sources import open_dataset
    from mixlab.evaluation.unseen_images import unseen_in_training
    from mixlab.tasks.tasks import TASKS

    kinds = TASKS[getattr(module, "TASK", "classification")].kinds
    return unseen_in_training(open_dataset(data, kinds, quiet=quiet), quiet=quiet)


def _folder(out: Path | None, name: str, subject: str) -> Path:
    return output_folder(out, f"study-{name}", subject) if subject else output_folder(out, "study", name)


def _changed(settings: Any) -> dict[str, Any]:
    """The settings that are not the defaults."""
    values = {one.name: getattr(settings, one.name) for one in fields(settings)}
    return {one.name: values[one.name] for one in fields(settings) if values[one.name] != one.default}


def _command_line(name: str, options: Mapping[str, Any]) -> str:
    """The command with those of `options` that have a value; "auto" is the default of --speed."""
    words = ["mixlab", "study", name]
    for option, value in options.items():
        if value not in (None, "auto"):
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            words += [f"--{option.replace('_', '-')}", text]
    return shlex.join(words)


def _parsed(value: Any, hint: Any) -> Any:
    """The value of an option as the type of its field. `tuple[str, ...]` is a list of models."""
    return split_names(value) if get_origin(hint) is tuple else value


def _parameter(name: str, annotation: Any, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


@cache
def _commands() -> dict[str, ast.Module]:
    """The syntax trees of all studies, by the names of their commands. Parsing is much faster than importing."""
    folder = files("mixlab") / "studies"
    names = [path.name.removesuffix(".py") for path in folder.iterdir() if path.name.endswith(".py")]
    parsed = {name: ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"), f"{name}.py") for name in names}
    return {name.replace("_", "-"): module for name, module in parsed.items() if _defines_settings(module)}


def _defines_settings(module: ast.Module) -> bool:
    return any(isinstance(node, ast.ClassDef) and node.name == "Settings" for node in module.body)


def _cost(module: ast.Module) -> str | None:
    """The string `COST` of a study: its cost at the default settings."""
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="COST")], value=ast.Constant(value=str(cost))):
                return cost
    return None
