"""`csv:FILE`: a table of image paths and classes, separated by commas, semicolons or tabs.

The first row names the columns: one of the image, one of the class, and optionally `split` (a name of a split, such as
train, val or test, see `split_names`) and `group` (images of the same group are never separated by a split). Paths are
relative to the folder of the table.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mixlab.data.class_order import class_name
from mixlab.data.dataset import Dataset, Sample
from mixlab.data.readers.split_names import check_one_name_per_split, find_splits
from mixlab.data.splits import as_provided
from mixlab.errors import UserError
from mixlab.files import translate_read_errors
from mixlab.report.text import pluralize

_REQUIRED = {
    "image": ("path", "file", "filename", "file_name", "image", "image_path"),
    "class": ("label", "class", "target"),
}
_TITLES = _REQUIRED | {"split": ("split",), "group": ("group",)}
"""Each column that is read -> the titles that it may have, in lower case."""

_SEPARATORS = ",;\t"


def read_csv(path: Path) -> Dataset:
    """Read a table.

    Raises UserError if the table is malformed or its columns are ambiguous, or if an image is named twice or does not
    exist.
    """
    name = f"csv:{path.absolute()}"
    samples: dict[str, list[Sample]] = {}
    first_rows: dict[Path, tuple[int, str]] = {}
    missing: list[str] = []
    rows = list(_rows(path))
    split_of = find_splits(dict.fromkeys(row["split"].lower() for _, row in rows))
    check_one_name_per_split(str(path), split_of)
    for line, row in rows:
        image, label = path.parent / row["image"], class_name(row["class"], f"{path}, line {line},")
        if image in first_rows:
            raise _named_twice(path, row["image"], first_rows[image], (line, label))
        first_rows[image] = line, label
        if not image.exists():
            missing.append(row["image"])
        split = split_of.get(row["split"].lower())
        if split is None:
            raise UserError(f'{path} has the split "{row["split"]}" in line {line}: it must be train, val or test.')
        samples.setdefault(split, []).append(Sample(label, row["image"], image, row.get("group", "")))
    if missing:
        raise UserError(
            f"{path} lists {len(first_rows):,} images, but {len(missing):,} of them do not exist, such as "
            f"{missing[0]}: paths are relative to {path.absolute().parent}."
        )
    if not first_rows:
        raise UserError(f"{path} has a header but no rows: add a row with a path and a label for each image.")
    return as_provided(name, samples)


def _named_twice(path: Path, image: str, first: tuple[int, str], second: tuple[int, str]) -> UserError:
    if first[1] != second[1]:
        return UserError(
            f'{path} is multi-label: {image} has the class "{first[1]}" in line {first[0]} and "{second[1]}" in line '
            f"{second[0]}, but each image must have one class. Remove one of the rows."
        )
    return UserError(
        f"{path} has {image} in line {first[0]} and again in line {second[0]}: each image can have only one row, so "
        "remove one of them."
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The first line of each row, from 1, and the values of the columns in `_TITLES`; "split" is always set."""
    try:
        with translate_read_errors(path), path.open(encoding="utf-8-sig", newline="") as file:
            rows = _cells(path, file)
            line, titles = next(rows, (1, []))
            columns = _columns(path, line, titles)
            for line, cells in rows:
                yield line, {"split": "train"} | _values(path, line, cells, titles, columns)
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


def _columns(path: Path, line: int, titles: list[str]) -> dict[str, int]:
    """The columns in `_TITLES` that are present -> their positions."""
    columns: dict[str, int] = {}
    for column, names in _TITLES.items():
        matches = [index for index, title in enumerate(titles) if title.strip().lower() in names]
        if len(matches) > 1:
            found = " and ".join(f'"{titles[index].strip()}"' for index in matches)
            raise UserError(
                f"{path} has {len(matches)} columns of the {column} in line {line}, {found}: rename or remove all but "
                "one."
            )
        if matches:
            columns[column] = matches[0]
    for column, names in _REQUIRED.items():
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
    return f' Rename "{similar[0]}" to "{names[0]}" if it is that column.' if len(similar) == 1 else ""


def _values(path: Path, line: int, cells: list[str], titles: list[str], columns: dict[str, int]) -> dict[str, str]:
    if len(cells) > len(titles):
        raise UserError(
            f"{path} has {pluralize(len(cells), 'value')} in line {line}, but only "
            f"{pluralize(len(titles), 'column')}: write double quotes around a value that contains the separator of "
            "the columns."
        )
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
