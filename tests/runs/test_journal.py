"""The journal of a training and its one reader."""

import json
import os
from pathlib import Path

import pytest

from mixlab.errors import UserError
from mixlab.runs.history import read_history
from mixlab.runs.journal import Journal


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "journal.jsonl"


def test_lines_of_one_kind_are_read_in_order(path):
    with Journal(path) as journal:
        journal.write("step", step=1, loss=2.5)
        journal.write("epoch", epoch=1, step=1, note="größer")
        journal.write("step", step=2, loss=2.0)
    history = read_history(path)
    assert [line["step"] for line in history.steps] == [1, 2]
    assert history.epochs == [{"kind": "epoch", "epoch": 1, "step": 1, "note": "größer"}]
    assert history.step == 2


@pytest.mark.parametrize(
    "name",
    ["a\u2028b.png", "a\x85b.png", "a\nb.png", os.fsdecode(b"caf\xe9.png")],
    ids=["line separator", "next line", "newline", "bytes that are not UTF-8"],
)
def test_a_file_name_is_read_as_it_was_written(path, name):
    with Journal(path) as journal:
        journal.write("end", unreadable={name: "broken"})
    end = read_history(path).end
    assert end is not None and end["unreadable"] == {name: "broken"}


def test_a_line_can_be_read_as_soon_as_it_is_written(path):
    with Journal(path) as journal:
        journal.write("step", step=1)
        assert read_history(path).step == 1


def test_a_second_journal_appends_to_the_first(path):
    for step in (1, 2):
        with Journal(path) as journal:
            journal.write("step", step=step)
    assert [line["step"] for line in read_history(path).steps] == [1, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_becomes_null(path, value):
    with Journal(path) as journal:
        journal.write("step", step=1, loss=value, norms={"head": [1.0, value]})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    (line,) = path.read_text().splitlines()
    assert json.loads(line, parse_constant=refuse) == {
        "kind": "step",
        "step": 1,
        "loss": None,
        "norms": {"head": [1.0, None]},
    }


def test_truncate_removes_the_lines_after_a_length(path):
    with Journal(path) as journal:
        journal.write("step", step=1)
        length = journal.bytes
        journal.write("step", step=2)
        journal.truncate(length)
        journal.write("step", step=3)
    assert [line["step"] for line in read_history(path).steps] == [1, 3]


def test_an_incomplete_last_line_is_ignored(path):
    """As a reader sees it while the training writes, or after the machine was switched off."""
    path.write_text('{"kind": "step", "step": 1}\n{"kind": "ste')
    assert [line["step"] for line in read_history(path).steps] == [1]


def test_a_missing_journal_has_no_lines(path):
    history = read_history(path)
    assert (history.step, history.best, history.validation, history.seconds, history.end) == (0, None, None, None, None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_full_disk_is_reported_in_a_sentence():
    with (
        pytest.raises(UserError, match=r"could not be written: the disk is full"),
        Journal(Path("/dev/full")) as journal,
    ):
        journal.write("step", step=1)
