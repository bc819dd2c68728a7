"""Tables as LaTeX: escapes, and a form that LaTeX accepts."""

import re
import shutil
import subprocess

import pytest

from mixlab.report.latex import escape_latex
from mixlab.report.table import Column, Table, render

ESCAPED = re.compile(r"\\[&%$#_{}]")


def body_rows(latex: str) -> list[str]:
    """The rows of the tabular, without rules."""
    inside = re.search(r"\\begin\{tabular\}\{\w+\}\n(.*)\\end\{tabular\}", latex, flags=re.DOTALL)
    assert inside is not None
    return [line for line in inside[1].splitlines() if not re.fullmatch(r"\\(top|mid|bottom)rule", line)]


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("mixer_s16 & 50 %", r"mixer\_s16 \& 50 \%"),
        (r"a\b{c}", r"a\textbackslash{}b\{c\}"),
        ("$5 #1 ~x^2", r"\$5 \#1 \textasciitilde{}x\textasciicircum{}2"),
        ("97.4 ± 0.3", r"97.4 $\pm$ 0.3"),
        ("a − b", r"a $-$ b"),
        ("< 0.001", r"$<$ 0.001"),
        ("5\N{NO-BREAK SPACE}%", r"5~\%"),
    ],
)
def test_special_characters_and_signs_are_escaped(text, latex):
    assert escape_latex(text) == latex


def test_a_table_is_well_formed(table):
    notes = ["100 % of {them}_are here & there."]
    latex = render(Table("A & B", [*table.columns, Column("x", "[x]")], table.rows, notes), "latex")
    begins, ends = (re.findall(rf"\\{word}\{{(\w+)\}}", latex) for word in ("begin", "end"))
    assert (begins, ends) == (["table", "tabular"], ["tabular", "table"])
    plain = ESCAPED.sub("", latex)
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0 and plain.count("$") % 2 == 0
    assert not set("#_~") & set(plain)
    rows = body_rows(latex)
    assert len(rows) == len(table.rows) + 1
    assert all(ESCAPED.sub("", row).count("&") == len(table.columns) and row.endswith(r" \\") for row in rows)


def test_numbers_are_aligned_to_the_right_and_a_bracket_is_protected(table):
    latex = render(table, "latex")
    assert r"\begin{tabular}{lrr}" in latex and r"\toprule" in latex
    assert r"97.4 $\pm$ 0.3 (n = 3) & 188,426 \\" in latex
    bracket = Table("t", [Column("a", "A")], [{"a": "[1, 2]"}])
    assert r"{[1, 2]} \\" in render(bracket, "latex")


def test_notes_follow_the_rows(table):
    lines = render(table, "latex").splitlines()
    assert lines[-2] == r"\par\smallskip\footnotesize The last row is a baseline."


def test_columns_of_long_text_wrap_and_share_their_width():
    columns = [Column("a", "A"), Column("b", "B"), Column("c", "C")]
    wrapped = r">{\raggedright\arraybackslash}"
    one = render(Table("t", columns, [{"a": "word " * 12, "b": "short", "c": 1}]), "latex")
    assert rf"\begin{{tabular}}{{{wrapped}p{{24em}}lr}}" in one
    two = render(Table("t", columns, [{"a": "word " * 12, "b": "word " * 7, "c": 1}]), "latex")
    assert rf"\begin{{tabular}}{{{wrapped}p{{12em}}{wrapped}p{{12em}}r}}" in two


def test_a_table_is_scaled_to_the_line_if_it_is_wider(table):
    lines = render(table, "latex").splitlines()
    assert lines[3] == r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    assert lines[-3] == r"\end{tabular}}"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_pdflatex_sets_wide_and_narrow_tables_within_the_line(tmp_path):
    numbers = [Column(f"column_{place}", f"column {place}", "points") for place in range(12)]
    texts = [Column(f"text_{place}", f"text {place}") for place in range(3)]
    row = {column.key: 1234.5 for column in numbers} | {
        column.key: "some long words of a text " * 3 for column in texts
    }
    narrow = Table("A & B", [Column("model", "model"), Column("x", "[x]")], [{"model": "mixer_nano", "x": "≤ 3 ± 0.1"}])
    tables = [narrow, Table("Numbers", numbers, [row]), Table("Texts", [*texts, *numbers[:2]], [row])]
    head = r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage{array, booktabs, graphicx}\begin{document}"
    document = "\n".join([head, *(render(one, "latex") for one in tables), r"\end{document}"])
    (tmp_path / "tables.tex").write_text(document, encoding="utf-8")
    command = ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex")
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Overfull" not in ended.stdout and "Output written" in ended.stdout


def test_a_long_head_above_numbers_has_several_lines():
    latex = render(Table("t", [Column("a", "share of the time", "%")], [{"a": 1}]), "latex")
    assert r"\shortstack[r]{share of the \\ time (\%)} \\" in latex
