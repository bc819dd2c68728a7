"""Output of the subcommands: folders, tables and log messages."""

import re
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from mixlab.errors import UserError
from mixlab.files import require_writable
from mixlab.report.progress import Log
from mixlab.report.table import Format, Table, print_table, render
from mixlab.report.text import join_words


def output_folder(out: Path | None, verb: str, data: str) -> Path:
    """`out`, or by default the path of a new folder in runs/. Raises UserError if the folder is not empty."""
    if out is None:
        label = re.sub(r"\W+", "-", data).strip("-").lower()[-40:]
        out = Path("runs") / f"{verb}-{label}-{datetime.now():%Y%m%d-%H%M%S}"
    require_empty_folder(out)
    return out


def require_empty_folder(out: Path) -> None:
    """Raises UserError if `out` is a file, the current folder or a folder with files, or can't be written."""
    if out.resolve() == Path.cwd():
        raise UserError(f"--out {out} is the current folder, which can't be replaced: give the name of a new folder.")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(
            f"--out {out} already exists, and existing files are never overwritten: give a new or empty folder."
        )
    require_writable(out)


def require_new_file(out: Path, option: str, *suffixes: str) -> None:
    """Raises UserError if `out` exists, does not end in one of `suffixes`, or can't be written."""
    if out.suffix.lower() not in suffixes:
        known = join_words(suffixes, most=len(suffixes), conjunction="or")
        raise UserError(f"{option} {out} has no known format: give a file that ends in {known}.")
    if out.exists():
        raise UserError(f"{option} {out} already exists, and existing files are never overwritten: give a new file.")
    require_writable(out)


def require_new_path(out: Path) -> None:
    """Raises UserError if `out` exists, or can't be written."""
    if out.exists():
        raise UserError(f"{out} already exists and is never overwritten: give another name.")
    require_writable(out)


def parse_image_size(text: str | None) -> int | tuple[int, int] | None:
    """The value of --image-size in pixels: "64" for a square, "64x48" for height x width. Raises UserError."""
    if text is None:
        return None
    sides = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if sides is None:
        raise UserError(
            f"--image-size {text} is not a size: give pixels, for example 64, or height x width, for example 64x48."
        )
    return (int(sides[1]), int(sides[2])) if sides[2] else int(sides[1])


def show(tables: Iterable[Table], format: Format) -> None:
    """Print tables to standard output.

    In the format "table", an empty line follows each. As CSV, an empty line is between them; as JSON, several are a
    list.
    """
    given = list(tables)
    match format:
        case "table":
            for table in given:
                print_table(table)
                print()
        case "markdown" | "latex":
            for table in given:
                print(render(table, format))
        case "csv":
            print("\n".join(render(table, format) for table in given), end="")
        case "json":
            documents = [render(table, format) for table in given]
            print(documents[0] if len(documents) == 1 else f"[\n{','.join(documents)}]\n", end="")


def logger(*, quiet: bool) -> Log:
    """A function that prints log messages to standard error, so that standard output has only results."""

    def log(message: str) -> None:
        if not quiet:
            print(message, file=sys.stderr, flush=True)

    return log
