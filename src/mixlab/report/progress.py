"""Progress of long work: a bar with an estimate on a terminal, nothing in a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Advance(Protocol):
    def __call__(self, steps: int = 1, text: str = "") -> None:
        """Count `steps` as done and show `text` (a loss, an image's name) behind the bar."""


@contextmanager
def progress(label: str, total: int, *, quiet: bool = False) -> Iterator[Advance]:
    """Show `label`, a bar of `total` steps, the time gone, the time left and a text, on standard error.

    Silent where `quiet` is set or standard error is no terminal. The bar disappears at the end.
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


def _ignore(steps: int = 1, text: str = "") -> None:
    pass
