"""Errors that the user can fix, and suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """An error that the user can fix.

    The message says what is wrong, where, which rule applies and how to fix it, in one or two sentences. The command
    line prints the message alone and exits with status 2; every other exception keeps its traceback.
    """


class Interrupted(Exception):  # noqa: N818  an interruption is not an error
    """Raised when a signal stops work that can be resumed.

    The message says how to resume. The command line exits with status 75.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return 'Did you mean "epochs"?' if a name in `known` is similar to `word`, otherwise the empty string."""
    matches = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'Did you mean "{matches[0]}"?' if matches else ""
