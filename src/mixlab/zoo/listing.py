"""Tables of sizes and of the papers' results: narrow human-readable ones, and complete machine-readable ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from itertools import groupby
from json import dumps

from mixlab.report.numbers import DASH
from mixlab.report.table import Cell, Column, Table
from mixlab.zoo.paper import Counted, PaperRow, paper_rows
from mixlab.zoo.sizes import Size

_MACS = "MACs: multiply-accumulates for one image, in matrix products and convolutions."
_COUNTED = "Our params and MACs are counted by mixlab; all other figures are those of the paper."
_PAPERS = {"mlp-mixer": "MLP-Mixer", "convmixer": "ConvMixer", "davit": "DaViT"}


def sizes_table(sizes: Sequence[Size], published: Sequence[str] = ()) -> Table:
    """A human-readable list of sizes. `published` are the names of published weights, for a note."""
    titles = {_arxiv_number(size): size.paper.title for size in sizes}
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
            Column("reported_by", "reported by", note="source of the top-1, and the data of pre-training."),
        ),
        rows=[
            {
                "name": size.name,
                "image_size": size.config["image_size"],
                "parameters": size.parameters / 1e6,
                "macs": size.macs / 1e9,
                "paper": _arxiv_number(size),
                "paper_top1": _figure(top1, digits),
                "reported_by": size.reported_by,
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
    """A machine-readable list of sizes with every field."""
    rows = [
        asdict(size)
        | {"config": dumps(size.config), "paper": size.paper.title, "address": size.paper.address}
        | {"aliases": ", ".join(size.aliases)}
        for size in sizes
    ]
    return Table(title="Models by name", columns=[Column(key, key) for key in rows[0]], rows=rows)


def paper_tables() -> list[Table]:
    """The result tables of the papers, one for each block, narrow enough for a terminal of 80 columns."""
    blocks = groupby(paper_rows(), key=lambda row: (row.printed["table"], row.printed["block"]))
    return [_block(f"{_PAPERS[table]}: {block}", list(rows)) for (table, block), rows in blocks]


def paper_full_table() -> Table:
    """All rows in one table: every column of paper-tables.csv, then the model and the counts of mixlab."""
    rows = paper_rows()
    keys = (*rows[0].printed, *(field.name for field in fields(Counted)), "reason", "remarks")
    return Table(
        title="Result tables of the papers, with the counts of mixlab",
        columns=[Column(key, key) for key in keys],
        rows=[
            {key: _figure(text, _decimals(text)) for key, text in row.printed.items()}
            | (asdict(row.counted) | {"fields": dumps(row.counted.fields)} if row.counted else {})
            | {"reason": row.reason or None, "remarks": "; ".join(row.remarks) or None}
            for row in rows
        ],
    )


def _block(title: str, rows: Sequence[PaperRow]) -> Table:
    """One block of a table. A column with the same value in every row becomes a note; empty columns are omitted."""
    columns = _block_columns(rows)
    numbers = {text: number for number, text in enumerate(dict.fromkeys(_all_remarks(rows)), 1)}
    cells = [_block_cells(row, columns, numbers) for row in rows]
    values = {column.key: {line[column.key] for line in cells} for column in columns}
    shared = [
        f"{column.title} {value} {column.unit}".rstrip()
        for column in columns
        for value in values[column.key]
        if len(values[column.key]) == 1 and value is not None
    ]
    return Table(
        title,
        [column for column in columns if len(values[column.key]) > 1],
        cells,
        notes=[
            *([f"In every row: {', '.join(shared)}."] if shared else []),
            *(f"Remark {number}: {text}." for text, number in numbers.items()),
            _COUNTED,
        ],
    )


def _all_remarks(rows: Sequence[PaperRow]) -> Iterator[str]:
    return (remark for row in rows for remark in row.remarks)


def _block_columns(rows: Sequence[PaperRow]) -> list[Column]:
    hardware = rows[0].printed["throughput_unit"].removeprefix("images/s").lstrip("/, ").replace("-", " ")
    core_days = Column("core_days_k", "TPUv3 core-days", "k")
    if any(row.printed["core_days_extrapolated"] for row in rows):  # then all of the block
        core_days = replace(core_days, title="TPUv3 core-days ‡", note="extrapolated by the authors of the paper.")
    printed = (
        Column("model", "model"),
        Column("patch_kernel", "patch, kernel"),
        Column("activation", "act."),
        Column("image_px", "image", "px"),
        Column("epochs", "epochs"),
        Column("top1", "top-1", "%"),
        Column("real", "ReaL", "%"),
        Column("avg5", "Avg 5", "%"),
        Column("throughput", "img/s", hardware),
        core_days,
        Column("params_m", "params", "M"),
        Column("flops_g", "FLOPs", "G"),
    )
    counted = (
        Column("parameters", "our params", "M", digits=2),
        Column("macs", "our MACs", "G", digits=2),
        Column("image_size", "counted at", "px"),
        Column("reason", "reason"),
        Column("remarks", "remark"),
    )
    digits = {column.key: max(_decimals(row.printed.get(column.key, "")) for row in rows) for column in printed}
    return [*(replace(column, digits=digits[column.key]) for column in printed), *counted]


def _block_cells(row: PaperRow, columns: Sequence[Column], numbers: Mapping[str, int]) -> dict[str, Cell]:
    """The cells of a row; `numbers` has the number of each remark."""
    cells = {column.key: _figure(row.printed.get(column.key, ""), column.digits or 0) for column in columns}
    patch, kernel = row.printed["patch_size"], row.printed["kernel_size"]
    if patch or kernel:
        cells["patch_kernel"] = f"{patch or DASH} / {kernel or DASH}"
    if row.counted:
        cells["parameters"] = row.counted.parameters / 1e6
        cells["macs"] = row.counted.macs / 1e9
        cells["image_size"] = None if row.printed["image_px"] else row.counted.image_size
    return cells | {
        "reason": row.reason or None,
        "remarks": ", ".join(str(numbers[remark]) for remark in row.remarks) or None,
    }


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def _figure(text: str, digits: int) -> Cell:
    """A number if `digits` decimals print it like the source, else the text of the source."""
    if text.isdecimal():
        return int(text)
    is_number = text.replace(".", "", 1).isdecimal()
    return float(text) if is_number and _decimals(text) == digits else text or None


def _arxiv_number(size: Size) -> str:
    return size.paper.address.rpartition("/")[2]
