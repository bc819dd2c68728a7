"""Progress on standard error: bars on a terminal, and lines where it is not a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

Log = Callable[[str], None]
"""Called with a message for the user."""


@runtime_checkable
class Advance(Protocol):
    """The function that `progress` yields."""

    def __call__(self, steps: int = 1, text: str = "") -> None:
        """Add `steps` to the completed steps and show `text`, such as the loss, after the bar."""


@contextmanager
def progress(label: str, total: int, *, quiet: bool = False) -> Iterator[Advance]:
    """Show a progress bar of `total` steps with `label`, elapsed time, remaining time and a text on standard error.

    Shows nothing if `quiet` is set or standard error is not a terminal. The bar is removed at the end.
    """
    if quiet or not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left", style="dim"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False, style="dim"),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        task = bars.add_task(escape(label), total=total, text="")

        def advance(steps: int = 1, text: str = "") -> None:
            bars.update(task, advance=steps, text=text)

        yield advance


def log_without_bar(line: str, *, quiet: bool) -> None:
    """Print a line on standard error where `progress` shows no bar because it is not a terminal, unless `quiet`."""
    if not quiet and not sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def _ignore(steps: int = 1, text: str = "") -> None:
    pass
