"""The command `mixlab`: its subcommands and exit status.

Exit status: 0 success, 1 partial result, 2 user error, 75 not finished: the same command continues, 130 Ctrl-C.
"""

import errno
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated

import typer

from mixlab.cli.benchmark import benchmark
from mixlab.cli.compare import compare
from mixlab.cli.convert import convert
from mixlab.cli.data import data
from mixlab.cli.evaluate import evaluate
from mixlab.cli.executors import with_ray_address
from mixlab.cli.explain import explain
from mixlab.cli.export import export
from mixlab.cli.inspect import inspect
from mixlab.cli.models import models
from mixlab.cli.predict import predict
from mixlab.cli.publish import publish
from mixlab.cli.recipes import recipes
from mixlab.cli.runs import runs
from mixlab.cli.serve import serve
from mixlab.cli.study import study
from mixlab.cli.train import train
from mixlab.errors import Incomplete, Interrupted, UserError
from mixlab.files import translate_access_errors

_VERBS = (
    models,
    train,
    evaluate,
    predict,
    explain,
    compare,
    recipes,
    runs,
    benchmark,
    convert,
    inspect,
    publish,
    export,
    serve,
)
VERBS = (*(verb.__name__ for verb in _VERBS), "data", "study")

_INCOMPLETE = 75

_NO_SPACE = (
    "Standard output or a temporary file could not be written ({}): free some space on its disk or choose another one."
)
_BROKEN_DISK = (
    "Standard output or a file could not be read or written ({}): check the disks and network drives and run again."
)
_DISK_ERRORS = {errno.ENOSPC: _NO_SPACE, errno.EDQUOT: _NO_SPACE, errno.EFBIG: _NO_SPACE}
_DISK_ERRORS |= {errno.EIO: _BROKEN_DISK, errno.ESTALE: _BROKEN_DISK, errno.ENOTCONN: _BROKEN_DISK}
"""Errors of a disk. Without a file name they are of standard output or of a file of a library, because `mixlab.files`
adds the names of the files that mixlab reads and writes."""

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
    """A laboratory and workshop for patch-mixing vision models: MLP-Mixer, ConvMixer and DaViT.

    To begin, run `mixlab compare --data digits`. For your own images, in a folder with one folder per class:
    `mixlab data check folder:PATH`, then `mixlab train --data folder:PATH`, and `mixlab predict RUN IMAGES` with the
    folder that it prints.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments`, by default those of the process, and exit.

    A UserError, and a path that the operating system refuses, is printed as one message to standard error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid text
    try:
        status = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader closed the pipe
        _discard(sys.stdout.fileno())
        status = 1
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        _discard(sys.stdout.fileno())
        status = _print_error(_DISK_ERRORS[error.errno].format(error.strerror))
    sys.exit(status)


def _run(words: list[str]) -> int:
    """Run the command and return its exit status."""
    try:
        with translate_access_errors():
            return app(with_ray_address(words) or ["--help"], prog_name="mixlab", standalone_mode=False) or 0
    except UserError as error:
        return _print_error(str(error))
    except Interrupted as interrupted:
        return _print_error(str(interrupted), status=interrupted.status)
    except Incomplete as incomplete:
        print(incomplete)
        return _INCOMPLETE
    except typer.TyperException as error:
        return _print_error(_usage_message(words, error))


def _open_closed_streams() -> None:
    """Open the null device as standard output or standard error if it is closed, as in some services.

    Python sets a closed stream to None. Without this, the next file that is opened would get its file descriptor.
    """
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            _discard(descriptor)
            setattr(sys, name, os.fdopen(descriptor, "w"))


def _discard(descriptor: int) -> None:
    """Redirect a file descriptor to the null device, also for processes that this one starts.

    Python would print an error if it could not write the rest of standard output at exit.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    os.set_inheritable(descriptor, True)  # of a closed descriptor, which os.open returns itself


def _print_error(message: str, status: int = 2) -> int:
    """Print an error to standard error and return its exit status."""
    with suppress(OSError):  # standard error may be on the full disk, too
        print(f"mixlab: {message}", file=sys.stderr)
    return status


def _usage_message(words: Sequence[str], error: typer.TyperException) -> str:
    """Typer's message about wrong arguments, such as an unknown option, with the command and a hint on --help."""
    message = " ".join(error.format_message().replace("Value error, ", "").split())
    end = "" if message.endswith((".", "?")) else "."
    has_subcommand = words[0] in ("data", "study") and len(words) > 1 and not words[1].startswith("-")
    command = f"mixlab {' '.join(words[: 2 if has_subcommand else 1])} --help" if words[0] in VERBS else "mixlab --help"
    return f"`{shlex.join(['mixlab', *words])}` is not a valid command: {message}{end} See `{command}`."
