"""What comes with `pip install "mixlab[data]"`: where it is missing, a sentence says so, and in a pipe it is silent."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

from mixlab.errors import UserError


@contextmanager
def needs_extra(name: str, extra: str = "data") -> Iterator[None]:
    """Around the import of a reader's library: the absence of one is a UserError that tells how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f'{name} needs {error.name}, which is an extra: pip install "mixlab[{extra}]"') from error


@contextmanager
def bars_on_a_terminal(*, quiet: bool) -> Iterator[None]:
    """What a library says while it fetches goes to standard error, and nowhere where our own progress is silent."""
    if quiet or not sys.stderr.isatty():
        with redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            yield
    else:
        with redirect_stdout(sys.stderr):
            yield
