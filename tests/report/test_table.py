import csv
import io
import json
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len

from mixlab.report.table import Cell, Column, Table, print_table, render
from mixlab.stats.estimate import Estimate


def one_cell(cell: Cell, **column) -> str:
    """The cell as the terminal shows it."""
    table = Table("t", [Column("a", "A"), Column("b", "B", **column)], [{"a": "x", "b": cell}])
    return render(table, "table").splitlines()[4].removeprefix(" x").strip()


MEAN = Estimate(97.44, 96.71, 98.17, n=3, unit="%", spread=0.31)


@pytest.mark.parametrize(
    ("cell", "shown"),
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
def test_a_cell_is_written_with_what_it_is_worth(cell, shown):
    assert one_cell(cell) == shown


def test_a_column_can_prefer_the_interval_to_the_spread():
    assert one_cell(MEAN, uncertainty="interval") == "97.4 [96.7, 98.2]"


def test_a_number_that_rounds_to_zero_has_no_minus():
    assert one_cell(-0.04, digits=1) == "0.0"


def test_a_columns_numbers_have_the_same_decimals():
    table = Table("t", [Column("a", "A")], [{"a": 123.4}, {"a": 0.5}, {"a": 99.44}])
    assert [line.strip() for line in render(table, "table").splitlines()[4:7]] == ["123", "0", "99"]


def test_a_key_that_a_row_lacks_is_a_dash(table):
    assert render(table, "table").splitlines()[7].split() == ["majority", "class", "–", "–"]


def test_the_unit_stands_in_the_head_and_notes_stand_under_the_table(table):
    noted = replace(table, columns=[*table.columns[:2], Column("parameters", "Parameters", note="all of them")])
    lines = render(noted, "table").splitlines()
    assert "Top-1 (%)" in lines[2]
    assert lines[-2:] == ["Parameters: all of them", "The last row is no model."]


def test_names_in_wide_scripts_keep_numbers_under_each_other_in_the_terminal(table):
    rows = render(table, "table").splitlines()[4:7]
    assert len({cell_len(row) for row in rows}) == 1


def test_names_in_wide_scripts_keep_markdown_columns_under_each_other(table):
    rows = [line for line in render(table, "markdown").splitlines() if line.startswith("|")]
    assert len({cell_len(row) for row in rows}) == 1


def test_the_terminal_table_is_never_cut_or_folded():
    table = Table(
        "t", [Column(f"c{i}", "long head " * 5) for i in range(20)], [{f"c{i}": "word " * 9 for i in range(20)}]
    )
    assert len(render(table, "table").splitlines()) == 6


def test_brackets_in_a_cell_are_not_taken_for_styles():
    assert one_cell("[red]x[/red]") == "[red]x[/red]"


def test_markdown_aligns_numbers_right_and_keeps_bars_inside_cells():
    table = Table("t", [Column("a", "A"), Column("b", "B")], [{"a": "x|y", "b": 1}])
    assert render(table, "markdown").splitlines()[2:] == ["| A    |   B |", "| ---- | --: |", "| x\\|y |   1 |"]


def test_csv_holds_an_estimate_in_full_and_unrounded():
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


def test_json_holds_an_estimate_in_full():
    table = Table("t", [Column("top1", "T", "%")], [{"top1": MEAN}, {}])
    estimate = {"value": 97.44, "low": 96.71, "high": 98.17, "n": 3, "unit": "%", "spread": 0.31}
    value = json.loads(render(table, "json"))
    assert value["columns"] == [{"key": "top1", "title": "T", "unit": "%"}]
    assert value["rows"] == [{"top1": estimate}, {"top1": None}]


def test_json_writes_every_script_as_itself(table):
    assert "고양이" in render(table, "json")


def test_printing_into_a_pipe_gives_the_whole_table(table, capsys):
    print_table(table)
    assert capsys.readouterr().out == render(table, "table")


def test_a_narrow_terminal_breaks_lines_between_words(table, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's word for a terminal
    monkeypatch.setenv("COLUMNS", "36")
    print_table(table)
    words = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).split()
    assert {"Parameters", "188,426", "97.4", "(n", "mixer"} <= set(words)


def test_html_escapes_names_and_draws_the_mark_of_models_alone(table):
    html = table.html()
    assert "고양이 &lt;&amp;&gt; $x$" in html
    assert html.count('class="mark"') == 3


def test_html_says_the_shared_n_in_the_head_and_keeps_the_interval_as_a_tip(table):
    html = table.html()
    assert "<small>%, ± of n = 3</small>" in html
    assert '<td class="uncertainty" title="95 % interval [96.8, 98.0], n = 3">± 0.3</td>' in html


def test_html_says_each_n_in_its_cell_where_they_differ(table):
    other = {"model": "x", "top1": Estimate(95.0, 94.0, 96.0, n=5, unit="%", spread=0.5)}
    html = replace(table, rows=[*table.rows, other]).html()
    assert "± 0.3 (n = 3)" in html
    assert "± 0.5 (n = 5)" in html
