"""The command `mixlab`: its subcommands and exit status.

Exit status: 0 success, 1 partial result, 2 user error, 75 stopped by a signal and can be resumed, 130 Ctrl-C.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

from mixlab.cli.compare import compare
from mixlab.cli.convert import convert
from mixlab.cli.data import data
from mixlab.cli.evaluate import evaluate
from mixlab.cli.inspect import inspect
from mixlab.cli.models import models
from mixlab.cli.predict import predict
from mixlab.cli.publish import publish
from mixlab.cli.recipes import recipes
from mixlab.cli.runs import runs
from mixlab.cli.study import study
from mixlab.cli.train import train
from mixlab.errors import Interrupted, UserError

_VERBS = (models, train, evaluate, predict, compare, recipes, runs, convert, inspect, publish)
VERBS = (*(verb.__name__ for verb in _VERBS), "data", "study")

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)
for verb in _VERBS:
    app.command()(verb)
app.add_typer(data, name="data")
app.add_typer(study, name="study")


def _print_version(*, value: bool) -> None:
    if value:
        from mixlab import __version__

        print(f"mixlab {__version__}")
        raise typer.Exit


@app.callback()
def mixlab(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A laboratory and workshop for patch-mixing vision models: MLP-Mixer, ConvMixer and DaViT."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments`, by default those of the process, and exit.

    A UserError is printed as one message to standard error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid text
    try:
        status = app(words or ["--help"], prog_name="mixlab", standalone_mode=False) or 0
        sys.stdout.flush()
    except UserError as error:
        status = _print_error(str(error))
    except Interrupted as interrupted:
        print(f"mixlab: {interrupted}", file=sys.stderr)
        status = 75
    except typer.TyperException as error:
        status = _print_error(_usage_message(words, error))
    except BrokenPipeError:  # the reader closed the pipe; Python would print an error when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def _print_error(message: str) -> int:
    """Print an error and return its exit status."""
    print(f"mixlab: {message}", file=sys.stderr)
    return 2


def _usage_message(words: Sequence[str], error: typer.TyperException) -> str:
    """Typer's message about wrong arguments, such as an unknown option, with the command and a hint on --help."""
    message = error.format_message().replace("Value error, ", "")
    end = "" if message.endswith((".", "?")) else "."
    command = f"mixlab {words[0]} --help" if words[0] in VERBS else "mixlab --help"
    return f"`{shlex.join(['mixlab', *words])}` is not a valid command: {message}{end} See `{command}`."
