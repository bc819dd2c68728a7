"""Sizes and the papers' rows as tables: narrow ones for people, complete ones for programs."""

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from itertools import groupby
from json import dumps

from mixlab.report.numbers import DASH
from mixlab.report.table import Cell, Column, Table
from mixlab.zoo.paper import Counted, PaperRow, paper_rows
from mixlab.zoo.sizes import Size

_MACS = "MACs: multiply-accumulates of one image, in matrix products and convolutions."
_COUNTED = "Our params and MACs are counted by mixlab; every other figure is as the paper prints it."
_PAPERS = {"mlp-mixer": "MLP-Mixer", "convmixer": "ConvMixer", "davit": "DaViT"}


def sizes_table(sizes: Sequence[Size], published: Sequence[str] = ()) -> Table:
    """`published`: the names of the Cards of the size asked for, which a note gives."""
    titles = {_number_of(size): size.paper.title for size in sizes}
    reported = [str(size.paper_top1 or "") for size in sizes]
    digits = max(map(_decimals, reported))
    return Table(
        title="Models by name",
        columns=(
            Column("name", "model"),
            Column("image_size", "image", "px"),
            Column("parameters", "params", "M", digits=2),
            Column("macs", "MACs", "G", digits=3),
            Column("paper", "arXiv"),
            Column("paper_top1", "top-1", "%", digits=digits),
            Column("whose", "reported by", note="whose top-1 it is, and the data pre-trained on."),
        ),
        rows=[
            {
                "name": size.name,
                "image_size": size.config["image_size"],
                "parameters": size.parameters / 1e6,
                "macs": size.macs / 1e9,
                "paper": _number_of(size),
                "paper_top1": _figure(top1, digits),
                "whose": size.reported_by,
            }
            for size, top1 in zip(sizes, reported, strict=True)
        ],
        notes=(
            _MACS,
            *(f"arXiv {number}: {title}" for number, title in titles.items()),
            *([f"Published weights: {', '.join(published)}."] if published else ()),
        ),
    )


def sizes_full_table(sizes: Sequence[Size]) -> Table:
    rows = [
        asdict(size) | {"config": dumps(size.config), "paper": size.paper.title, "address": size.paper.address}
        for size in sizes
    ]
    return Table(title="Models by name", columns=[Column(key, key) for key in rows[0]], rows=rows)


def paper_tables() -> list[Table]:
    """The papers' tables block by block, each narrow enough for a terminal of 80 columns."""
    blocks = groupby(paper_rows(), key=lambda row: (row.printed["table"], row.printed["block"]))
    return [_block(f"{_PAPERS[table]}: {block}", list(rows)) for (table, block), rows in blocks]


def paper_full_table() -> Table:
    """All rows in one table: every column of paper-tables.csv, then what was counted, and of what."""
    rows = paper_rows()
    keys = (*rows[0].printed, *(field.name for field in fields(Counted)), "why_not", "remark")
    return Table(
        title="The papers' tables of results, and what mixlab counts",
        columns=[Column(key, key) for key in keys],
        rows=[
            {key: _figure(text, _decimals(text)) for key, text in row.printed.items()}
            | (asdict(row.counted) | {"fields": dumps(row.counted.fields)} if row.counted else {})
            | {"why_not": row.reason or None, "remark": row.remark or None}
            for row in rows
        ],
    )


def _block(title: str, rows: Sequence[PaperRow]) -> Table:
    """A column that says the same in every row stands below the table; one that is empty is left out."""
    columns = _block_columns(rows)
    cells = [_block_cells(row, columns) for row in rows]
    values = {column.key: {line[column.key] for line in cells} for column in columns}
    shared = [
        f"{column.title} {value} {column.unit}".rstrip()
        for column in columns
        for value in values[column.key]
        if len(values[column.key]) == 1 and value is not None
    ]
    sources: dict[str, list[str]] = {}
    for row in rows:
        sources.setdefault(row.printed["note"], []).append(row.printed["model"])
    return Table(
        title,
        [column for column in columns if len(values[column.key]) > 1],
        cells,
        notes=[
            *([f"In every row: {', '.join(shared)}."] if shared else []),
            *(f"{', '.join(models)}: {source}." for source, models in sources.items() if source),
            *dict.fromkeys(row.remark for row in rows if row.remark),
            _COUNTED,
        ],
    )


def _block_columns(rows: Sequence[PaperRow]) -> list[Column]:
    where = rows[0].printed["throughput_unit"].removeprefix("images/s").lstrip("/, ").replace("-", " ")
    core_days = Column("core_days", "TPUv3 core days")
    if any(row.printed["core_days_extrapolated"] for row in rows):  # then in the whole block
        core_days = Column("core_days", "TPUv3 core days ‡", note="extrapolated by the paper's authors.")
    printed = (
        Column("model", "model"),
        Column("patch_kernel", "patch, kernel"),
        Column("activation", "act."),
        Column("image_px", "image", "px"),
        Column("epochs", "epochs"),
        Column("top1", "top-1", "%"),
        Column("real", "ReaL", "%"),
        Column("avg5", "Avg 5", "%"),
        Column("throughput", "img/s", where),
        core_days,
        Column("params_m", "params", "M"),
        Column("flops_g", "FLOPs", "G"),
    )
    counted = (
        Column("parameters", "our params", "M", digits=2),
        Column("macs", "our MACs", "G", digits=2),
        Column("image_size", "counted at", "px"),
        Column("why_not", "why not counted"),
    )
    digits = {column.key: max(_decimals(row.printed.get(column.key, "")) for row in rows) for column in printed}
    return [*(replace(column, digits=digits[column.key]) for column in printed), *counted]


def _block_cells(row: PaperRow, columns: Sequence[Column]) -> dict[str, Cell]:
    cells = {column.key: _figure(row.printed.get(column.key, ""), column.digits or 0) for column in columns}
    patch, kernel = row.printed["patch_size"], row.printed["kernel_size"]
    if patch or kernel:
        cells["patch_kernel"] = f"{patch or DASH} / {kernel or DASH}"
    if row.counted:
        cells["parameters"] = row.counted.parameters / 1e6
        cells["macs"] = row.counted.macs / 1e9
        cells["image_size"] = None if row.printed["image_px"] else row.counted.image_size
    return cells | {"why_not": row.reason or None}


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def _figure(text: str, digits: int) -> Cell:
    """A number where `digits` decimals print it as its source does, else the source's own text."""
    if text.isdecimal():
        return int(text)
    is_number = text.replace(".", "", 1).isdecimal()
    return float(text) if is_number and _decimals(text) == digits else text or None


def _number_of(size: Size) -> str:
    return size.paper.address.rpartition("/")[2]
