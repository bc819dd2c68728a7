"""`mixlab study`: experiments of the papers, one command per study. Its options are the fields of the study's settings.

A study is a module of `mixlab.studies` with a dataclass `Settings` and a function `run`. It is imported only when its
command is used.
"""

import ast
from collections.abc import Callable
from dataclasses import MISSING, fields
from importlib import import_module
from importlib.resources import files
from inspect import Parameter, Signature
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

    def command(**given: Any) -> None:
        from mixlab.data.sources import open_dataset
        from mixlab.evaluation.unseen_images import unseen_in_training
        from mixlab.files import atomic_folder, write_json, write_text
        from mixlab.studies.result import claims_table, study_page

        data, out, quiet = given.pop("data"), given.pop("out"), given.pop("quiet")
        folder, log = output_folder(out, f"study-{name}", data), logger(quiet=quiet)
        unseen = unseen_in_training(open_dataset(data, quiet=quiet), quiet=quiet)
        result = module.run(unseen.dataset, module.Settings(**given), quiet=quiet, log=log)
        findings = result.findings()
        with atomic_folder(folder) as temporary:
            learned = {"left_out": unseen.left_out, "near_copies": unseen.near_copies}
            write_json(temporary / "results.json", result.to_dict() | learned)
            write_text(temporary / "report.html", study_page(result, unseen.notes).html())
        show([*([claims_table(findings)] if findings else []), *result.tables()], "table")
        for note in unseen.notes:
            print(note)
        print(f"Report: {folder / 'report.html'}")

    options = [_parameter("data", Annotated[str, typer.Option(help=f"{DATA}.")], Parameter.empty)]
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


def _parameter(name: str, annotation: Any, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _modules() -> dict[str, ast.Module]:
    """The syntax trees of all modules of `mixlab.studies`. Parsing is much faster than importing them."""
    folder = files("mixlab") / "studies"
    names = [path.name.removesuffix(".py") for path in folder.iterdir() if path.name.endswith(".py")]
    return {name: ast.parse((folder / f"{name}.py").read_text(encoding="utf-8")) for name in names}


def _defines_settings(module: ast.Module) -> bool:
    return any(isinstance(node, ast.ClassDef) and node.name == "Settings" for node in module.body)
