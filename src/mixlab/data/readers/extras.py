"""Optional dependencies of readers: an error message if one is missing, their own errors, and their progress bars."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

from mixlab.errors import UserError


@contextmanager
def needs_extra(name: str, extra: str = "data") -> Iterator[None]:
    """Wrap the import of an optional dependency: if it is missing, raise a UserError that says how to install it.

    `name`: the dataset, for the message.
    `extra`: the extra of the mixlab package that installs the dependency.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f'{name} needs the optional dependency {error.name}: pip install "mixlab[{extra}]"') from error


@contextmanager
def progress_bars_on_terminal(*, quiet: bool) -> Iterator[None]:
    """Redirect a library's output to standard error; discard it if `quiet`, or if standard error is not a terminal."""
    if quiet or not sys.stderr.isatty():
        with redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            yield
    else:
        with redirect_stdout(sys.stderr):
            yield


def first_line(error: Exception) -> str:
    """The first line of a library's error message, or of that of its cause if there is one."""
    return str(error.__cause__ or error).strip().partition("\n")[0]
