"""What comes with `pip install "mixlab[data]"`: where it is missing, a sentence says so."""

from collections.abc import Iterator
from contextlib import contextmanager

from mixlab.errors import UserError


@contextmanager
def needs_extra(name: str, extra: str = "data") -> Iterator[None]:
    """Around the import of a reader's library: the absence of one is a UserError that tells how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f'{name} needs {error.name}, which is an extra: pip install "mixlab[{extra}]"') from error
