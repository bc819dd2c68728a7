r"""Tables as LaTeX with the rules of booktabs.

The document needs `\usepackage{booktabs, tabularx}` and text encoded in UTF-8. A table with long text has the width of
the line, and its columns of long text wrap.
"""

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

_WRAPPED = r">{\raggedright\arraybackslash}X"

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
    head, *rows = zip(*columns, strict=True)
    alignment = "".join(
        "r" if right else _text_alignment(column) for column, right in zip(columns, numeric, strict=True)
    )
    environment, width = ("tabularx", r"{\linewidth}") if _WRAPPED in alignment else ("tabular", "")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(title)}}}",
        rf"\begin{{{environment}}}{width}{{{alignment}}}",
        r"\toprule",
        _row(head),
        r"\midrule",
        *map(_row, rows),
        r"\bottomrule",
        rf"\end{{{environment}}}",
        *([r"\par\smallskip\footnotesize " + " ".join(map(escape_latex, notes))] if notes else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _text_alignment(column: Sequence[str]) -> str:
    return _WRAPPED if max(map(len, column)) > _LONGEST else "l"


def _row(cells: Sequence[str]) -> str:
    # The braces protect a cell that begins with "[", which \\ and the rules would read as an optional argument.
    return (
        " & ".join(f"{{{text}}}" if (text := escape_latex(cell)).startswith("[") else text for cell in cells) + r" \\"
    )
