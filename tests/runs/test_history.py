"""Reading of a journal, also while it is written."""

from pathlib import Path

import pytest

from mixlab.errors import UserError
from mixlab.runs.history import History, read_history
from mixlab.runs.journal import Journal


def epoch(number: int, top1: float | None) -> dict:
    validation = None if top1 is None else {"top1": top1, "images": 10}
    return {"step": 5 * number, "epoch": number, "seconds": 2.0 * number, "validation": validation}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.write("step", step=4, loss=1.0)
        journal.write("epoch", **epoch(1, 80.0))
        journal.write("resumed", step=7)
    return tmp_path / "journal.jsonl"


def test_lines_are_grouped_by_kind(journal):
    history = read_history(journal)
    assert [line["step"] for line in (*history.steps, *history.epochs, *history.resumed)] == [4, 5, 7]
    assert (history.skipped, history.end) == ([], None)


def test_the_last_step_is_the_largest_in_any_line(journal):
    assert read_history(journal).step == 7
    assert History().step == 0


def test_without_a_journal_the_history_is_empty(tmp_path):
    assert read_history(tmp_path / "journal.jsonl") == History()


def test_an_incomplete_last_line_is_ignored(journal):
    with journal.open("ab") as file:
        file.write(b'{"kind": "step", "st')
    assert len(read_history(journal).steps) == 1


def test_a_damaged_line_is_reported_by_its_number(journal):
    with journal.open("ab") as file:
        file.write(b"{]\n")
    with pytest.raises(UserError, match=r"journal\.jsonl is damaged in line 4 \(.*Train again, or copy the run again"):
        read_history(journal)


def test_an_image_name_may_contain_any_character(tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.write("end", unreadable={"a\u2028b\x85c": "it is truncated"})
    end = read_history(tmp_path / "journal.jsonl").end
    assert end and list(end["unreadable"]) == ["a\u2028b\x85c"]


def test_the_last_of_equally_good_epochs_is_the_best():
    history = History(epochs=[epoch(1, 90.0), epoch(2, 90.0), epoch(3, 70.0)])
    assert history.best and history.best["epoch"] == 2
    assert history.validation == {"top1": 90.0, "images": 10}


def test_without_validation_there_is_no_best_epoch():
    history = History(epochs=[epoch(1, None)])
    assert (history.best, history.validation, history.seconds) == (None, None, 2.0)


def test_averaged_weights_have_their_own_validation_result():
    averaged = {"runs": ["a", "b"], "validation": {"top1": 95.0, "images": 10}}
    assert History(epochs=[epoch(1, 90.0)], averaged=[averaged]).validation == averaged["validation"]
