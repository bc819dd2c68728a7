"""The rows and columns of CSV tables, separated by commas, semicolons or tabs."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from mixlab.errors import UserError
from mixlab.files import translate_read_errors
from mixlab.report.text import pluralize

IMAGE_TITLES = ("path", "file", "filename", "file_name", "image", "image_path")
"""The titles of the column of the image, in lower case."""

_PLURALS = ("labels", "tags", "classes", "targets")
"""Titles of a column with several labels of each image."""

_SEPARATORS = ",;\t"


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The first line of each row, from 1, and its cells; the first row has the titles. Raises UserError."""
    try:
        with translate_read_errors(path), path.open(encoding="utf-8-sig", newline="") as file:
            yield from _cells(path, file)
    except FileNotFoundError as error:
        raise UserError(f"csv:{path} does not exist ({path.absolute()}): give the path of a table.") from error
    except OSError as error:
        raise UserError(f"csv:{path} can't be read ({error.strerror}): give the path of a table.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"csv:{path} is not a CSV table in UTF-8 ({error}): save it as CSV in UTF-8.") from error


def _cells(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The first line of each row that is not blank, from 1, and its cells. Raises UserError for unbalanced quotes."""
    separator = max(_SEPARATORS, key=file.readline().count)
    file.seek(0)
    row_lines: list[str] = []

    def recorded_lines() -> Iterator[str]:
        for line in file:
            row_lines.append(line)
            yield line

    reader = csv.reader(recorded_lines(), delimiter=separator, strict=True, skipinitialspace=True)
    first_line = 1
    try:
        for cells in reader:
            if sum(line.count('"') for line in row_lines) % 2:
                raise csv.Error("a quote inside a value")
            if cells:
                yield first_line, cells
            first_line += len(row_lines)
            row_lines.clear()
    except csv.Error as error:
        raise UserError(
            f"{path} has unbalanced double quotes in line {first_line} ({error}): quote the whole value, and write "
            "each quote inside it twice."
        ) from error


def find_columns(
    path: Path,
    line: int,
    titles: list[str],
    required: Mapping[str, tuple[str, ...]],
    titles_of: Mapping[str, tuple[str, ...]],
) -> dict[str, int]:
    """The position of each column that is present.

    line       of the titles
    required   the columns that must be present
    titles_of  the titles that each column may have, in lower case

    Raises UserError if a required column is missing, or if a column is there twice.
    """
    columns: dict[str, int] = {}
    for column, names in titles_of.items():
        matches = [index for index, title in enumerate(titles) if title.strip().lower() in names]
        if len(matches) > 1:
            found = " and ".join(f'"{titles[index].strip()}"' for index in matches)
            raise UserError(
                f"{path} has {len(matches)} columns of the {column} in line {line}, {found}: rename or remove all but "
                "one."
            )
        if matches:
            columns[column] = matches[0]
    for column, names in required.items():
        if column not in columns:
            others = [title.strip() for index, title in enumerate(titles) if index not in columns.values()]
            raise UserError(
                f"{path} has no column of the {column} in line {line}, only {', '.join(titles) or 'an empty row'}: the "
                f"first row must name it {', '.join(names[:-1])} or {names[-1]}.{_likely_column(others, names)}"
            )
    return columns


def _likely_column(titles: list[str], names: tuple[str, ...]) -> str:
    """A suggestion to rename the only title that contains one of `names`, or the only one at all."""
    similar = [title for title in titles if any(name in title.lower() for name in names)] or titles
    if len(similar) != 1:
        return ""
    several = " If it has several labels per image, train with --task multilabel." if similar[0] in _PLURALS else ""
    return f' Rename "{similar[0]}" to "{names[0]}" if it is that column.{several}'


def check_width(path: Path, line: int, cells: list[str], titles: list[str]) -> None:
    """Raises UserError if a row has more values than there are columns."""
    if len(cells) > len(titles):
        raise UserError(
            f"{path} has {pluralize(len(cells), 'value')} in line {line}, but only "
            f"{pluralize(len(titles), 'column')}: write double quotes around a value that contains the separator of "
            "the columns."
        )


def filled_values(
    path: Path, line: int, cells: list[str], titles: list[str], columns: Mapping[str, int]
) -> dict[str, str]:
    """The values of a row in `columns`, stripped. Raises UserError if one is empty or has a line break."""
    values = {column: cells[index].strip() if index < len(cells) else "" for column, index in columns.items()}
    for column, value in values.items():
        title = titles[columns[column]].strip()
        if not value:
            raise UserError(f'{path} has no value in the column "{title}" in line {line}: add it or remove the row.')
        if len(value.splitlines()) > 1:
            raise UserError(
                f'{path} has a line break in the column "{title}" in line {line}: close the double quotes that open '
                "there."
            )
    return values


def missing_files(path: Path, images: int, missing: list[str]) -> UserError:
    """The error for a table of so many images, of which some are `missing`."""
    return UserError(
        f"{path} lists {images:,} images, but {len(missing):,} of them do not exist, such as "
        f"{missing[0]}: paths are relative to {path.absolute().parent}."
    )
