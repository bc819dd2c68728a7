"""`csv:FILE`: a table of image paths and classes, separated by commas, semicolons or tabs.

The first row names the columns: `path` (or `file`), `label`, and optionally `split` (a name that `split_names` knows,
such as train, val or test) and `group` (images of the same group are never separated by a split). Paths are relative
to the folder of the table.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from mixlab.data.dataset import Dataset, Sample
from mixlab.data.readers.split_names import check_one_name_per_split, find_splits
from mixlab.data.splits import as_provided
from mixlab.errors import UserError, did_you_mean

_COLUMNS = ("path", "label", "split", "group")
_ALIASES = {"file": "path"}
_SEPARATORS = ",;\t"


def read_csv(path: Path) -> Dataset:
    """Read a table. Raises UserError if it is malformed, names an image twice or names one that does not exist."""
    name = f"csv:{path.absolute()}"
    samples: dict[str, list[Sample]] = {}
    line_of: dict[str, int] = {}
    missing: list[str] = []
    rows = list(_rows(path))
    split_of = find_splits(dict.fromkeys(row["split"].lower() for _, row in rows))
    check_one_name_per_split(str(path), split_of)
    for line, row in rows:
        if row["path"] in line_of:
            raise UserError(
                f"{path} has {row['path']} in line {line_of[row['path']]} and again in line {line}: each image "
                "can have only one row, so remove one of them."
            )
        line_of[row["path"]] = line
        image = path.parent / row["path"]
        if not image.exists():
            missing.append(row["path"])
        split = split_of.get(row["split"].lower())
        if split is None:
            raise UserError(f'{path} has the split "{row["split"]}" in line {line}: it must be train, val or test.')
        samples.setdefault(split, []).append(Sample(row["label"], row["path"], image, row.get("group", "")))
    if missing:
        raise UserError(
            f"{path} lists {len(line_of):,} images, but {len(missing):,} of them do not exist, such as {missing[0]}: "
            f"paths are relative to {path.absolute().parent}."
        )
    if not line_of:
        raise UserError(f"{path} has a header but no rows: add a row with a path and a label for each image.")
    return as_provided(name, samples)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of the last line of each row, and the values of the columns in `_COLUMNS`; "split" is always set."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(_SEPARATORS, key=header.count), strict=True)
            columns = _columns(path, list(reader.fieldnames or ()))
            for row in reader:
                values = {column: (row[title] or "").strip() for column, title in columns.items()}
                for column, value in values.items():
                    if not value:
                        raise UserError(
                            f'{path} has no value in the column "{columns[column]}" in line {reader.line_num}: add it '
                            "or remove the row."
                        )
                yield reader.line_num, {"split": "train", **values}
    except FileNotFoundError as error:
        raise UserError(f"csv:{path} does not exist ({path.absolute()}): give the path of a table.") from error
    except OSError as error:
        raise UserError(f"csv:{path} can't be read ({error.strerror}): give the path of a table.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"csv:{path} is not a CSV table in UTF-8 ({error}): save it as CSV in UTF-8.") from error


def _columns(path: Path, titles: list[str]) -> dict[str, str]:
    """The columns in `_COLUMNS` that are present -> their titles as written in the table."""
    written = {_ALIASES.get(title.strip().lower(), title.strip().lower()): title for title in titles if title}
    for required in ("path", "label"):
        if required not in written:
            hint = did_you_mean(required, written)
            raise UserError(
                f'{path} has no column "{required}", only {", ".join(written) or "an empty first row"}: the first row '
                f"must name the columns path and label, and may name split and group. {hint}".rstrip()
            )
    return {column: written[column] for column in _COLUMNS if column in written}
