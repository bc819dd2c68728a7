"""Mistakes that the user can put right."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """One sentence that says what is wrong, where, the rule, and the way out.

    The command line prints the sentence alone and exits with status 2; every other exception keeps its traceback.
    """


class Interrupted(Exception):  # noqa: N818  it is no error
    """A signal has ended work that can be resumed: a sentence that says how. The command line exits with status 75."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'Did you mean "epochs"?' where something known is near, else the empty string."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'Did you mean "{near[0]}"?' if near else ""
