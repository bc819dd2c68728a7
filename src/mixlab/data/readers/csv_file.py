"""`csv:FILE`: a table of images and their classes, separated by commas, semicolons or tabs.

Its first row names the columns: `path` (or `file`), `label`, and where wanted `split`, the part (train, val, test), and
`group`, whose images stay on one side of every cut. Paths are relative to the table's folder.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from mixlab.data.dataset import Dataset, Sample
from mixlab.data.readers.folder_scan import SPLIT_FOLDERS
from mixlab.data.splits import as_provided
from mixlab.errors import UserError, did_you_mean

_COLUMNS = ("path", "label", "split", "group")
_ALSO = {"file": "path"}
_SEPARATORS = ",;\t"


def read_csv(path: Path) -> Dataset:
    name = f"csv:{path.absolute()}"
    found: dict[str, list[Sample]] = {}
    lines: dict[str, int] = {}
    missing: list[str] = []
    for line, row in _rows(path):
        if row["path"] in lines:
            raise UserError(
                f"{path} has {row['path']} in line {lines[row['path']]} and again in line {line}: an image has one "
                "row and one class, so remove one of them."
            )
        lines[row["path"]] = line
        image = path.parent / row["path"]
        if not image.exists():
            missing.append(row["path"])
        split = _part(path, line, row.get("split", "train"))
        found.setdefault(split, []).append(Sample(row["label"], row["path"], image, row.get("group", "")))
    if missing:
        raise UserError(
            f"{path} names {len(missing):,} of {len(lines):,} images that are not there, such as {missing[0]}: paths "
            f"are relative to {path.absolute().parent}."
        )
    if not lines:
        raise UserError(f"{path} has a head but no rows: give each image a row with its path and its label.")
    return as_provided(name, found)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line that each row ends in, and what it has of `_COLUMNS`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(_SEPARATORS, key=head.count), strict=True)
            columns = _columns(path, list(reader.fieldnames or ()))
            for row in reader:
                values = {column: (row[title] or "").strip() for column, title in columns.items()}
                for column, value in values.items():
                    if not value:
                        raise UserError(
                            f'{path} has nothing in the column "{columns[column]}" of line {reader.line_num}: fill it '
                            "or remove the row."
                        )
                yield reader.line_num, values
    except FileNotFoundError as error:
        raise UserError(f"csv:{path} is not there ({path.absolute()}): give the path of a table.") from error
    except OSError as error:
        raise UserError(f"csv:{path} can't be read ({error.strerror}): give the path of a table.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"csv:{path} is no table in UTF-8 ({error}): save it as CSV in UTF-8.") from error


def _columns(path: Path, titles: list[str]) -> dict[str, str]:
    """Of `_COLUMNS`, those that are there, and their titles as written."""
    written = {_ALSO.get(title.strip().lower(), title.strip().lower()): title for title in titles if title}
    for needed in ("path", "label"):
        if needed not in written:
            hint = did_you_mean(needed, written)
            raise UserError(
                f'{path} has no column "{needed}" but {", ".join(written) or "nothing"}: its first row has to name a '
                f"path and a label, and may name split and group. {hint}".rstrip()
            )
    return {column: written[column] for column in _COLUMNS if column in written}


def _part(path: Path, line: int, written: str) -> str:
    if written.lower() not in SPLIT_FOLDERS:
        raise UserError(f'{path} has the split "{written}" in line {line}: it can be train, val or test.')
    return SPLIT_FOLDERS[written.lower()]
