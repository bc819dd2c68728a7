import csv
import io
import json
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len

from mixlab.report.table import Cell, Column, Table, print_table, render
from mixlab.stats.estimate import Estimate


def format_cell(cell: Cell, **column) -> str:
    """The cell as text in the terminal format."""
    table = Table("t", [Column("a", "A"), Column("b", "B", **column)], [{"a": "x", "b": cell}])
    return render(table, "table").splitlines()[4].removeprefix(" x").strip()


MEAN = Estimate(97.44, 96.71, 98.17, n=3, unit="%", spread=0.31)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (MEAN, "97.4 ± 0.3 (n = 3)"),
        (Estimate(97.44, 96.1, 98.2, n=510, unit="%"), "97.4 [96.1, 98.2]"),
        (Estimate(97.44, None, None, n=1, unit="%"), "97.4 (n = 1)"),
        (Estimate.exact(188_426, ""), "188,426"),
        (188_426, "188,426"),
        (-0.5, "−0.500"),
        (None, "–"),
        ("", ""),
    ],
)
def test_a_cell_includes_its_uncertainty(cell, text):
    assert format_cell(cell) == text


def test_a_column_can_show_the_interval_instead_of_the_spread():
    assert format_cell(MEAN, uncertainty="interval") == "97.4 [96.7, 98.2]"


def test_a_number_that_rounds_to_zero_has_no_minus_sign():
    assert format_cell(-0.04, digits=1) == "0.0"


def test_a_small_p_value_is_not_shown_as_zero():
    table = Table("t", [Column("p", "p (Holm)", digits=4), Column("x", "x", digits=4)], [{"p": 4e-5, "x": 4e-5}])
    assert "| < 0.0001 | 0.0000 |" in render(table, "markdown")
    assert r"$<$ 0.0001 & 0.0000" in render(table, "latex")
    assert "&lt; 0.0001" in table.html()
    assert render(table, "csv") == "p,x\n4e-05,4e-05\n"
    assert table.to_dict()["rows"] == [{"p": 4e-5, "x": 4e-5}]


def test_the_numbers_of_a_column_have_the_same_decimals():
    table = Table("t", [Column("a", "A")], [{"a": 123.4}, {"a": 0.5}, {"a": 99.44}])
    assert [line.strip() for line in render(table, "table").splitlines()[4:7]] == ["123", "0", "99"]


def test_a_missing_key_is_shown_as_a_dash(table):
    assert render(table, "table").splitlines()[7].split() == ["majority", "class", "–", "–"]


def test_the_header_has_the_unit_and_notes_follow_the_table(table):
    noted = replace(table, columns=[*table.columns[:2], Column("parameters", "Parameters", note="all of them")])
    lines = render(noted, "table").splitlines()
    assert "Top-1 (%)" in lines[2]
    assert lines[-2:] == ["Parameters: all of them", "The last row is a baseline."]


def test_wide_characters_are_aligned_in_the_terminal(table):
    rows = render(table, "table").splitlines()[4:7]
    assert len({cell_len(row) for row in rows}) == 1


def test_wide_characters_are_aligned_in_markdown(table):
    rows = [line for line in render(table, "markdown").splitlines() if line.startswith("|")]
    assert len({cell_len(row) for row in rows}) == 1


def test_rows_of_the_terminal_format_are_not_cut_or_wrapped():
    table = Table(
        "t", [Column(f"c{i}", "long head " * 5) for i in range(20)], [{f"c{i}": "word " * 9 for i in range(20)}]
    )
    assert len(render(table, "table").splitlines()) == 6


def test_brackets_in_a_cell_are_not_parsed_as_styles():
    assert format_cell("[red]x[/red]") == "[red]x[/red]"


def test_markdown_aligns_numbers_right_and_escapes_bars():
    table = Table("t", [Column("a", "A"), Column("b", "B")], [{"a": "x|y", "b": 1}])
    assert render(table, "markdown").splitlines()[2:] == ["| A    |   B |", "| ---- | --: |", "| x\\|y |   1 |"]


def test_csv_has_all_fields_of_an_estimate_unrounded():
    table = Table("t", [Column("model", "M"), Column("top1", "T", "%", digits=1)], [{"model": "a,b", "top1": MEAN}, {}])
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert rows == [
        {
            "model": "a,b",
            "top1": "97.44",
            "top1_low": "96.71",
            "top1_high": "98.17",
            "top1_n": "3",
            "top1_spread": "0.31",
        },
        {"model": "", "top1": "", "top1_low": "", "top1_high": "", "top1_n": "", "top1_spread": ""},
    ]


def test_json_has_all_fields_of_an_estimate():
    table = Table("t", [Column("top1", "T", "%")], [{"top1": MEAN}, {}])
    estimate = {"value": 97.44, "low": 96.71, "high": 98.17, "n": 3, "unit": "%", "spread": 0.31}
    value = json.loads(render(table, "json"))
    assert value["columns"] == [{"key": "top1", "title": "T", "unit": "%", "digits": None, "uncertainty": "spread"}]
    assert value["rows"] == [{"top1": estimate}, {"top1": None}]


@pytest.mark.parametrize("format", ["table", "markdown", "latex", "csv", "json"])
def test_a_table_from_its_json_is_rendered_alike(table, format):
    assert render(Table.from_dict(json.loads(render(table, "json"))), format) == render(table, format)


def test_json_does_not_escape_unicode(table):
    assert "고양이" in render(table, "json")


def test_without_a_terminal_the_whole_table_is_printed(table, capsys):
    print_table(table)
    assert capsys.readouterr().out == render(table, "table")


def test_a_narrow_terminal_wraps_between_words(table, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich assume a terminal
    monkeypatch.setenv("COLUMNS", "36")
    print_table(table)
    printed_words = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).split()
    assert {"Parameters", "188,426", "97.4", "(n", "mixer"} <= set(printed_words)


def test_html_escapes_names_and_draws_markers_for_models_only(table):
    html = table.html()
    assert "고양이 &lt;&amp;&gt; $x$" in html
    assert html.count('class="mark"') == 3


def test_html_has_a_shared_n_in_the_header_and_the_interval_as_a_tooltip(table):
    html = table.html()
    assert "<small>%, ± SD, n = 3</small>" in html
    assert '<td class="uncertainty" title="95 % interval [96.8, 98.0], n = 3">± 0.3</td>' in html


def test_html_has_n_in_each_cell_if_they_differ(table):
    other = {"model": "x", "top1": Estimate(95.0, 94.0, 96.0, n=5, unit="%", spread=0.5)}
    html = replace(table, rows=[*table.rows, other]).html()
    assert "± 0.3 (n = 3)" in html
    assert "± 0.5 (n = 5)" in html
