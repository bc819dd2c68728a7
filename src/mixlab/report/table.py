"""Tables of results, rendered as terminal text, Markdown, LaTeX, CSV, JSON or HTML."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal, Self, assert_never

from mixlab.report.colours import marker_svg
from mixlab.report.html_text import breakable, html_text
from mixlab.report.latex import latex_table
from mixlab.report.numbers import DASH, decimals, format_spread, interval, number
from mixlab.stats.estimate import Estimate

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Cell = Estimate | str | int | float | None
Uncertainty = Literal["spread", "interval"]
Format = Literal["table", "markdown", "latex", "csv", "json"]

_P_VALUES = ("p", "p_holm")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    key          key of its cells in the rows, and its name in CSV and JSON; "p" and "p_holm" are p-values
    title, unit  shown in the header
    digits       decimals; None for three significant digits of the largest number
    note         shown below the table
    uncertainty  shown next to estimates: "spread" or "interval", if an estimate has both
    """

    key: str
    title: str
    unit: str = ""
    digits: int | None = None
    note: str = ""
    uncertainty: Uncertainty = "spread"

    @property
    def head(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table.

    rows    for each row, its cells by column key; a missing key is shown as a dash, like None
    notes   shown below the table
    models  names that have a marker on the page; their order determines the colours
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Cell]]
    notes: Sequence[str] = ()
    models: Sequence[str] = ()

    @property
    def all_notes(self) -> list[str]:
        return [*(f"{column.title}: {column.note}" for column in self.columns if column.note), *self.notes]

    def cells(self, column: Column) -> list[Cell]:
        return [row.get(column.key) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """JSON-serializable values, with all cells unrounded. Notes of columns are among the notes."""
        columns = [
            {"key": one.key, "title": one.title, "unit": one.unit, "digits": one.digits, "uncertainty": one.uncertainty}
            for one in self.columns
        ]
        rows = [{one.key: _json_cell(row.get(one.key)) for one in self.columns} for row in self.rows]
        return {"title": self.title, "columns": columns, "rows": rows, "notes": self.all_notes}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The table of the result of `to_dict`, without the markers of models."""
        columns = [Column(**column) for column in value["columns"]]
        rows = [{key: _stored_cell(cell) for key, cell in row.items()} for row in value["rows"]]
        return cls(value["title"], columns, rows, value["notes"])

    def html(self) -> str:
        columns = [_html_column(column, self.cells(column), self.models) for column in self.columns]
        heads = "".join(cells[0] for cells in columns)
        rows = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in zip(*(cells[1:] for cells in columns), strict=True))
        items = "".join(f"<li>{html_text(note)}</li>" for note in self.all_notes)
        notes = f'<ul class="notes">{items}</ul>' if items else ""
        return (
            f'<div class="table">\n<h3>{escape(self.title)}</h3>\n'
            f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(self.title)}">'
            f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>\n"
            f"{notes}</div>"
        )


def render(table: Table, format: Format) -> str:
    """The table as text that ends with a newline. Rows are not wrapped or cut to a terminal's width."""
    match format:
        case "table":
            return _terminal_text(table)
        case "markdown":
            return _markdown(table)
        case "latex":
            return _latex(table)
        case "csv":
            return _csv(table)
        case "json":
            return _json(table)
        case _:
            assert_never(format)


def print_table(table: Table) -> None:
    """Print a table. On a terminal, cells wrap to its width; otherwise every row is one line."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.file.write(_terminal_text(table))
        return
    console.print(Text(table.title, style="bold"))
    console.print(_rich(table, console.width))
    for note in table.all_notes:
        console.print(Text(note, style="dim"))


def _is_numeric(cells: Sequence[Cell]) -> bool:
    return any(isinstance(cell, Estimate | int | float) for cell in cells)


def _digits(column: Column, cells: Sequence[Cell]) -> int:
    """Decimals of a column, the same for all cells so that decimal points align; integers have none."""
    values = [
        cell.value if isinstance(cell, Estimate) else cell for cell in cells if isinstance(cell, Estimate | float)
    ]
    return decimals(values) if column.digits is None else column.digits


def _texts(column: Column, cells: Sequence[Cell]) -> list[str]:
    digits = _digits(column, cells)
    return [_text(column, cell, digits) for cell in cells]


def _uncertainty(estimate: Estimate, digits: int, uncertainty: Uncertainty) -> str:
    """ "± 0.3 (n = 3)" or "[96.1, 98.2]"; "(n = 1)" for a measured number that has neither."""
    texts = [format_spread(estimate, digits), interval(estimate, digits)]
    if uncertainty == "interval":
        texts.reverse()
    exact = estimate.low is not None
    return texts[0] or texts[1] or ("" if exact else f"(n = {estimate.n})")


def _text(column: Column, cell: Cell, digits: int) -> str:
    match cell:
        case None:
            return DASH
        case str():
            return cell
        case Estimate():
            return f"{number(cell.value, digits)} {_uncertainty(cell, digits, column.uncertainty)}".rstrip()
        case int():
            return number(cell, 0)
        case float() if column.key in _P_VALUES and round(cell, digits) == 0:
            return f"< {10**-digits:.{digits}f}"
        case float():
            return number(cell, digits)


def _rich(table: Table, width: int) -> "RichTable":
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rich = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for column, column_width in zip(table.columns, _widths(table, width), strict=True):
        justify = "right" if _is_numeric(table.cells(column)) else "left"
        rich.add_column(Text(column.head), justify=justify, overflow="fold", width=column_width)
    for texts in zip(*(_texts(column, table.cells(column)) for column in table.columns), strict=True):
        rich.add_row(*map(Text, texts))
    return rich


def _widths(table: Table, width: int) -> list[int] | list[None]:
    """Column widths on a terminal of `width` cells.

    If the table is too wide, headers wrap at spaces first, then text cells, then numbers from their uncertainty. None
    if single words do not fit either; rich then breaks words.
    """
    from rich.cells import cell_len

    columns = [(column, table.cells(column), _texts(column, table.cells(column))) for column in table.columns]
    steps = [
        [[*head.head.split(), *" ".join(texts).split()] for head, _, texts in columns],
        [
            [*head.head.split(), *(texts if _is_numeric(cells) else " ".join(texts).split())]
            for head, cells, texts in columns
        ],
        [[*head.head.split(), *texts] for head, _, texts in columns],
        [[head.head, *texts] for head, _, texts in columns],
    ]
    widths = [[max(map(cell_len, pieces)) for pieces in step] for step in steps]
    spare = [width - sum(step) - 2 * len(columns) for step in widths]
    fitting = max((index for index, cells in enumerate(spare) if cells >= 0), default=None)
    if fitting is None:
        return [None] * len(columns)
    assigned, remaining = widths[fitting], spare[fitting]
    for index, preferred in enumerate(widths[min(fitting + 1, len(steps) - 1)]):
        extra = min(preferred - assigned[index], remaining)
        assigned[index], remaining = assigned[index] + extra, remaining - extra
    return assigned


def _terminal_text(table: Table) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=10_000, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(_rich(table, console.width))
    lines = [table.title, *capture.get().splitlines(), *table.all_notes]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _markdown(table: Table) -> str:
    from rich.cells import cell_len

    blocks: list[list[str]] = []
    for column in table.columns:
        cells = table.cells(column)
        texts = [text.replace("|", "\\|").replace("\n", " ") for text in (column.head, *_texts(column, cells))]
        width = max(3, *map(cell_len, texts))
        numeric = _is_numeric(cells)
        padding = [" " * (width - cell_len(text)) for text in texts]
        padded = [pad + text if numeric else text + pad for text, pad in zip(texts, padding, strict=True)]
        blocks.append([padded[0], "-" * (width - 1) + ":" if numeric else "-" * width, *padded[1:]])
    lines = [f"| {' | '.join(row)} |" for row in zip(*blocks, strict=True)]
    notes = ["", *(f"- {note}" for note in table.all_notes)] if table.all_notes else []
    return "\n".join([f"**{table.title}**", "", *lines, *notes]) + "\n"


def _latex(table: Table) -> str:
    cells = [(column, table.cells(column)) for column in table.columns]
    columns = [[column.head, *_texts(column, of_column)] for column, of_column in cells]
    return latex_table(
        table.title, columns, numeric=[_is_numeric(of_column) for _, of_column in cells], notes=table.all_notes
    )


def _csv(table: Table) -> str:
    """A column of estimates becomes five: KEY, KEY_low, KEY_high, KEY_n, KEY_spread. Numbers are not rounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [_csv_column(column, table.cells(column)) for column in table.columns]
    for row in zip(*columns, strict=True):
        writer.writerow([value for values in row for value in values])
    return text.getvalue()


def _csv_column(column: Column, cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    if not any(isinstance(cell, Estimate) for cell in cells):
        return [(column.key,), *((cell,) for cell in cells)]
    rows: list[tuple[Cell, ...]] = [
        (column.key, *(f"{column.key}_{field}" for field in ("low", "high", "n", "spread")))
    ]
    for cell in cells:
        if isinstance(cell, Estimate):
            rows.append((cell.value, cell.low, cell.high, cell.n, cell.spread))
        else:
            rows.append((cell, None, None, None, None))
    return rows


def _json(table: Table) -> str:
    return json.dumps(table.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _json_cell(cell: Cell) -> object:
    return asdict(cell) if isinstance(cell, Estimate) else cell


def _stored_cell(cell: Any) -> Cell:
    return Estimate(**cell) if isinstance(cell, dict) else cell


def _html_column(column: Column, cells: Sequence[Cell], models: Sequence[str]) -> list[str]:
    """The header and the cells of a column.

    An estimate takes two cells, so that decimal points align. If all spreads of a column have the same n, the header
    states it.
    """
    digits = _digits(column, cells)
    counts = {cell.n for cell in cells if isinstance(cell, Estimate) and cell.spread is not None}
    shared = counts.pop() if len(counts) == 1 and column.uncertainty == "spread" else None
    subtitle = ", ".join(text for text in (column.unit, f"± SD, n = {shared}" if shared else "") if text)
    colspan = ' colspan="2"' if any(isinstance(cell, Estimate) for cell in cells) else ""
    css_class = ' class="number"' if _is_numeric(cells) else ""
    small = f"<small>{escape(subtitle)}</small>" if subtitle else ""
    head = f"<th{css_class}{colspan}>{escape(column.title)}{small}</th>"
    rows = [head]
    for cell in cells:
        if isinstance(cell, Estimate):
            brackets = interval(cell, digits)
            tooltip = f' title="95 % interval {brackets}, n = {cell.n}"' if brackets else ""
            uncertainty = _uncertainty(cell, digits, column.uncertainty).removesuffix(f" (n = {shared})")
            rows.append(
                f'<td class="number">{number(cell.value, digits)}</td>'
                f'<td class="uncertainty"{tooltip}>{uncertainty}</td>'
            )
        else:
            marker = marker_svg(cell, models) if isinstance(cell, str) and cell in models else ""
            text = marker + breakable(_text(column, cell, digits))
            rows.append(f"<td{css_class}>{text}</td>{'<td></td>' if colspan else ''}")
    return rows
