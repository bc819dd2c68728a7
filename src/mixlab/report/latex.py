r"""Tables as LaTeX with the rules of booktabs.

The document needs `\usepackage{array, booktabs, graphicx}` and text encoded in UTF-8. Columns of long text wrap, and a
table that is wider than the line is scaled down to it.
"""

import textwrap
from collections.abc import Sequence

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "\n": " ",
    "\N{NO-BREAK SPACE}": "~",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "°": r"$^{\circ}$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
}
_LONGEST = 30
"""Characters of a text that does not wrap."""

_WIDEST_HEAD = 16
"""Characters of a line of a head above numbers."""

_CHARACTER = 0.5
"""The width of a character in em, on average."""

_TEXT, _COLUMN = 24.0, 8.0
"""The width in em that all columns of long text share, and the least width of each."""

_TO_LINE = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"

_ESCAPES = str.maketrans(_SPECIAL)


def escape_latex(text: str) -> str:
    """The text with LaTeX's special characters and mathematical signs escaped."""
    return text.translate(_ESCAPES)


def latex_table(
    title: str, columns: Sequence[Sequence[str]], *, numeric: Sequence[bool], notes: Sequence[str] = ()
) -> str:
    """A `table` environment that ends with a newline.

    columns  for each column its head, followed by its cells, as plain text
    numeric  for each column, whether it is aligned to the right and does not wrap
    notes    sentences below the table
    """
    typed = list(zip(columns, numeric, strict=True))
    heads = [_stacked(column[0]) if is_numeric else _cell(column[0]) for column, is_numeric in typed]
    rows = zip(*(map(_cell, column[1:]) for column in columns), strict=True)
    longest = [0 if is_numeric else max(map(len, column)) for column, is_numeric in typed]
    width = max(_COLUMN, _TEXT / max(1, sum(length > _LONGEST for length in longest)))
    alignment = "".join(
        "r" if is_numeric else _text_alignment(length, width)
        for length, is_numeric in zip(longest, numeric, strict=True)
    )
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(title)}}}",
        _TO_LINE,
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _joined(heads),
        r"\midrule",
        *map(_joined, rows),
        r"\bottomrule",
        r"\end{tabular}}",
        *([r"\par\smallskip\footnotesize " + " ".join(map(escape_latex, notes))] if notes else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _text_alignment(longest: int, width: float) -> str:
    """The alignment of a column of text, by its number of characters; it wraps at `width` in em if it is long."""
    if longest <= _LONGEST:
        return "l"
    return rf">{{\raggedright\arraybackslash}}p{{{min(width, _CHARACTER * longest):g}em}}"


def _stacked(head: str) -> str:
    """A head above numbers, in several lines if it is long."""
    lines = textwrap.wrap(head, _WIDEST_HEAD)
    return _cell(head) if len(lines) < 2 else r"\shortstack[r]{" + r" \\ ".join(map(_cell, lines)) + "}"


def _cell(text: str) -> str:
    escaped = escape_latex(text)
    # The braces protect a cell that begins with "[", which \\ and the rules would read as an optional argument.
    return f"{{{escaped}}}" if escaped.startswith("[") else escaped


def _joined(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
