"""labels.csv: every image with its label and the suggested one. `csv:labels.csv` opens the corrected table."""

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from mixlab.comparison.label_errors import LabelErrors
from mixlab.data.dataset import ImageSource, stored_bytes
from mixlab.files import write_text
from mixlab.report.table import Cell, Column, Table, render

TABLE = "labels.csv"

MAX_COPIED_BYTES = 2**30
"""Images that are not files of their own are copied beside the table, up to this size of all together."""

_COLUMNS = ("image", "label", "suggested", "confidence", "label_probability", "margin", "split", "group", "name")
_DIGITS = 6  # decimals of probabilities


def write_label_table(found: LabelErrors, folder: Path) -> tuple[str, ...]:
    """Write labels.csv to `folder`, which exists, and return notes about it for the user.

    The first rows are the suspected labels, then the other predicted images, each with the lowest margin first, then
    the images that were not predicted. Splits and sample groups are those of the dataset. An image is named by its
    absolute path. An image that is not a file of its own, such as one in an archive, is copied to images/.
    """
    splits = found.dataset.splits
    inside = sum(stored_bytes(image) for split in splits.values() for image in split.images if not _is_file(image))
    predicted = _predicted_cells(found)
    rows: list[dict[str, Cell]] = []
    for split_name, split in splits.items():
        for position, (name, image) in enumerate(zip(split.names, split.images, strict=True)):
            label = found.dataset.classes[split.labels[position]]
            row: dict[str, Cell] = {"image": name, "label": label, "split": split_name, "name": name}
            row |= {"group": split.groups[position]} if split.groups else {}
            row |= predicted.get((split_name, name), {})
            if inside <= MAX_COPIED_BYTES:
                row["image"] = _path_in_table(image, folder, f"images/{split_name}/{position:06d}", name)
            rows.append(row)
    rows.sort(key=lambda row: ("suggested" not in row, row.get("margin", math.inf)))
    grouped = all(split.groups for split in splits.values())
    columns = [Column(key, key) for key in _COLUMNS if key != "group" or grouped]
    write_text(folder / TABLE, render(Table("", columns, rows), "csv"))
    if inside <= MAX_COPIED_BYTES:
        return ()
    return (
        f"{TABLE} can't be opened as csv:{TABLE}: the images are not files, and copies of them would take "
        f"{inside / 2**30:.1f} GiB. Unpack the data into a folder and run the command on it.",
    )


def _predicted_cells(found: LabelErrors) -> Mapping[tuple[str, str], dict[str, Cell]]:
    """The cells of each predicted image, by its split and name; only suspects have a suggestion."""
    cells: list[dict[str, Cell]] = [
        {"label_probability": round(probability, _DIGITS), "margin": round(margin, _DIGITS)}
        for probability, margin in zip(found.label_probabilities.tolist(), found.margins.tolist(), strict=True)
    ]
    for suspect in found.suspects:
        cells[suspect.index] |= {
            "suggested": suspect.suggested,
            "confidence": round(suspect.confidence, _DIGITS),
        }
    keys = zip(found.predictions.splits, found.predictions.images.names, strict=True)
    return dict(zip(keys, cells, strict=True))


def _is_file(image: ImageSource) -> bool:
    return isinstance(image, Path)


def _path_in_table(image: ImageSource, folder: Path, copy: str, name: str) -> str:
    """The absolute path of a file. Other images are copied to `folder`/`copy` with a suffix, and the path is relative.

    name  of the image, whose suffix the copy of a file in an archive has
    """
    if isinstance(image, Path):
        return str(image.absolute())
    path = folder / f"{copy}{'.png' if isinstance(image, np.ndarray) else PurePosixPath(name).suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, np.ndarray):
        Image.fromarray(image).save(path)
    else:
        path.write_bytes(image.read_bytes())
    return path.relative_to(folder).as_posix()
