"""The journal: a line for each thing that happened."""

import os
from pathlib import Path

import pytest

from mixlab.errors import UserError
from mixlab.runs.history import read_history
from mixlab.runs.journal import Journal, read_journal


def test_lines_of_one_kind_are_read_in_their_order(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write("step", step=1, loss=2.5)
        journal.write("epoch", epoch=1, note="größer")
        journal.write("step", step=2, loss=2.0)
    assert [line["step"] for line in read_journal(path, "step")] == [1, 2]
    assert read_journal(path, "epoch") == [{"kind": "epoch", "epoch": 1, "note": "größer"}]


@pytest.mark.parametrize(
    "name",
    ["a\u2028b.png", "a\x85b.png", "a\nb.png", os.fsdecode(b"caf\xe9.png")],
    ids=["a line separator", "a next line", "a newline", "bytes that are no UTF-8"],
)
def test_a_image_s_name_is_read_as_it_was_written(tmp_path, name):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write("end", unreadable={name: "broken"})
        journal.write("end", unreadable={})
    assert [line["unreadable"] for line in read_journal(path, "end")] == [{name: "broken"}, {}]
    end = read_history(path).end
    assert end is not None and end["unreadable"] == {}


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.write("step", step=1)
        assert len(read_journal(tmp_path / "journal.jsonl", "step")) == 1


def test_a_journal_goes_on_where_it_was(tmp_path):
    for step in (1, 2):
        with Journal(tmp_path / "journal.jsonl") as journal:
            journal.write("step", step=step)
    assert [line["step"] for line in read_journal(tmp_path / "journal.jsonl", "step")] == [1, 2]


def test_a_truncated_journal_is_named(tmp_path):
    (tmp_path / "journal.jsonl").write_text('{"kind": "step", "step": 1}\n{"kind": "ste')
    with pytest.raises(UserError, match=r"journal\.jsonl is broken \(.*\): it was cut off or changed by hand"):
        read_journal(tmp_path / "journal.jsonl", "step")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_full_disk_is_said_in_a_sentence():
    with (
        pytest.raises(UserError, match=r"could not be written: the disk is full"),
        Journal(Path("/dev/full")) as journal,
    ):
        journal.write("step", step=1)
