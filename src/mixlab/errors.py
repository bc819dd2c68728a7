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

    signal   the name of the signal, such as "SIGTERM"; None: a signal to another process
    details  where the work stopped and how to resume it; completes the sentence "Stopped by SIGTERM"

    The command line exits with `status`: 130 after Ctrl-C, else 75.
    """

    def __init__(self, signal: str | None, details: str):
        super().__init__(signal, details)
        self.signal, self.details = signal, details

    @property
    def status(self) -> int:
        return 130 if self.signal == "SIGINT" else 75

    def __str__(self) -> str:
        cause = "Ctrl-C" if self.signal == "SIGINT" else self.signal or "a signal to another process"
        return f"Stopped by {cause}{self.details}"


class Incomplete(Exception):  # noqa: N818  missing trainings are not an error
    """Raised when other processes have work to finish before the same command can go on. The message says which.

    The command line prints the message and exits with status 75.
    """


def in_one_line(error: Exception) -> str:
    """The type of an error and the first line of its message, for errors of other libraries."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return 'Did you mean "epochs"?' if a name in `known` is similar to `word`, otherwise the empty string."""
    name = most_similar(word, known)
    return "" if name is None else f'Did you mean "{name}"?'


def most_similar(word: str, known: Iterable[str]) -> str | None:
    """The name in `known` that is most similar to `word`, or None if none is similar."""
    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.6)), None)
