"""`mixlab study`: experiments of the papers, one command per study. Its options are the fields of the study's settings.

A study is a module of `mixlab.studies` with a dataclass `Settings` and a function `run`. It is imported only when its
command is used. If `run` takes a dataset, the command has the option --data.
"""

import ast
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from importlib import import_module
from importlib.resources import files
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup
from typer.main import get_command_from_info
from typer.models import CommandInfo

from mixlab.cli.options import DATA
from mixlab.cli.output import logger, output_folder, show
from mixlab.errors import UserError, did_you_mean


def study_names() -> list[str]:
    """The sorted names of all studies."""
    return sorted(name for name, module in _modules().items() if _defines_settings(module))


class _Studies(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return study_names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        names = study_names()
        if cmd_name not in names:
            hint = did_you_mean(cmd_name, names)
            raise UserError(f'There is no study "{cmd_name}": the studies are {", ".join(names)}. {hint}'.rstrip())
        info = CommandInfo(name=cmd_name, callback=_command(cmd_name), help=ast.get_docstring(_modules()[cmd_name]))
        return get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=None)


study = typer.Typer(cls=_Studies, help="Repeat an experiment of the papers on your images, with confidence intervals.")


@study.callback()
def _group() -> None:
    pass


def _command(name: str) -> Callable[..., None]:
    """The function of a command, with an option for every field of the study's settings."""
    module = import_module(f"mixlab.studies.{name}")
    hints = get_type_hints(module.Settings)
    takes_dataset = "dataset" in signature(module.run).parameters
    run = _run_on_dataset if takes_dataset else _run

    def command(**given: Any) -> None:
        from mixlab.files import atomic_folder, write_json, write_text
        from mixlab.studies.result import claims_table, study_page

        out, quiet = given.pop("out"), given.pop("quiet")
        folder = output_folder(out, f"study-{name}", given["data" if takes_dataset else "model"])
        result, left_out, notes = run(module, given, quiet=quiet)
        findings = result.findings()
        with atomic_folder(folder) as temporary:
            write_json(temporary / "results.json", result.to_dict() | left_out)
            write_text(temporary / "report.html", study_page(result, notes).html())
        show([*([claims_table(findings)] if findings else []), *result.tables()], "table")
        for note in notes:
            print(note)
        print(f"Report: {folder / 'report.html'}")

    options: list[Parameter] = []
    if takes_dataset:
        options.append(_parameter("data", Annotated[str, typer.Option(help=f"{DATA}.")], Parameter.empty))
    for field in fields(module.Settings):
        limits = {key: value for key, value in field.metadata.items() if key in ("min", "max")}
        option = typer.Option(help=field.metadata.get("help"), **limits)
        default = Parameter.empty if field.default is MISSING else field.default
        options.append(_parameter(field.name, Annotated[hints[field.name], option], default))
    out = Annotated[Path | None, typer.Option(help="New folder for report.html and results.json.")]
    options += [_parameter("out", out, None)]
    options += [_parameter("quiet", Annotated[bool, typer.Option("--quiet", help="Do not show progress.")], False)]
    command.__signature__ = Signature(options)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {option.name: option.annotation for option in options}
    return command


def _run_on_dataset(module: Any, given: dict[str, Any], *, quiet: bool) -> tuple[Any, dict[str, Any], Sequence[str]]:
    """The result of a study, the numbers of images that were left out, and notes about them."""
    from mixlab.data.sources import open_dataset
    from mixlab.evaluation.unseen_images import unseen_in_training

    unseen = unseen_in_training(open_dataset(given.pop("data"), quiet=quiet), quiet=quiet)
    result = module.run(unseen.dataset, module.Settings(**given), quiet=quiet, log=logger(quiet=quiet))
    return result, {"left_out": unseen.left_out, "near_copies": unseen.near_copies}, unseen.notes


def _run(module: Any, given: dict[str, Any], *, quiet: bool) -> tuple[Any, dict[str, Any], Sequence[str]]:
    """The same for a study of a model, with datasets of its own."""
    return module.run(module.Settings(**given), quiet=quiet, log=logger(quiet=quiet)), {}, ()


def _parameter(name: str, annotation: Any, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _modules() -> dict[str, ast.Module]:
    """The syntax trees of all modules of `mixlab.studies`. Parsing is much faster than importing them."""
    folder = files("mixlab") / "studies"
    names = [path.name.removesuffix(".py") for path in folder.iterdir() if path.name.endswith(".py")]
    return {name: ast.parse((folder / f"{name}.py").read_text(encoding="utf-8")) for name in names}


def _defines_settings(module: ast.Module) -> bool:
    return any(isinstance(node, ast.ClassDef) and node.name == "Settings" for node in module.body)
