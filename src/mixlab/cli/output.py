"""What verbs share: where they write, and how they speak."""

import re
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from mixlab.errors import UserError
from mixlab.report.table import Format, Table, print_table, render

Log = Callable[[str], None]


def output_folder(out: Path | None, verb: str, data: str) -> Path:
    """`out`, or a new folder below runs/; refused where something lies already."""
    if out is None:
        label = re.sub(r"\W+", "-", data).strip("-").lower()[-40:]
        out = Path("runs") / f"{verb}-{label}-{datetime.now():%Y%m%d-%H%M%S}"
    require_empty_folder(out)
    return out


def require_empty_folder(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"--out {out} holds something else, which is never overwritten: give a new or an empty folder.")


def parse_image_size(text: str | None) -> int | tuple[int, int] | None:
    """ "64" is a square, "64x48" is height x width, in pixels."""
    if text is None:
        return None
    sides = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if sides is None:
        raise UserError(f"--image-size {text} is no size: give pixels, as 64, or height x width, as 64x48.")
    return (int(sides[1]), int(sides[2])) if sides[2] else int(sides[1])


def show(tables: Iterable[Table], format: Format) -> None:
    """On standard output; for people with an empty line behind each."""
    for table in tables:
        match format:
            case "table":
                print_table(table)
                print()
            case "markdown":
                print(render(table, format))
            case "csv" | "json":
                print(render(table, format), end="")


def logger(*, quiet: bool) -> Callable[[str], None]:
    """What is said on the way goes to standard error, so that a pipe holds results alone."""

    def log(sentence: str) -> None:
        if not quiet:
            print(sentence, file=sys.stderr, flush=True)

    return log
