"""`mixlab train --dry-run`: everything is said, and nothing is kept that was not asked for."""

from pathlib import Path

import pytest


def test_a_dry_run_says_what_would_happen_and_writes_nothing(run, train, pets, here):
    before = sorted(here.rglob("*"))
    ended = run(*train, "--data", f"folder:{pets}", "--dry-run")
    assert ended.status == 0
    for said in ("learning_rate = 0.002", "Pictures a class", "parameters", "multiply-accumulates", "Learning rate"):
        assert said in ended.out, said
    assert "3 steps of 8 pictures" in ended.out
    assert sorted(here.rglob("*")) == before


def test_its_page_is_kept_where_that_is_asked_for(run, train, pets):
    assert run(*train, "--data", f"folder:{pets}", "--dry-run", "--figure", "told.html").status == 0
    assert "<svg" in Path("told.html").read_text()


def test_a_head_in_closed_form_is_told_of_as_well(run, pets, here):
    (here / "head.toml").write_text('model = "davit_tiny.msft_in1k"\ndata = ""\n[head]\n')
    ended = run("train", "head.toml", "--data", f"folder:{pets}", "--dry-run")
    assert (ended.status, ended.out) == (
        0,
        "32 pictures would go through davit_tiny.msft_in1k once, and a head for 2 classes would be fitted to what it "
        "sees in them.\n",
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--figure", "told.html"), "--figure told.html keeps what --dry-run says: give both."),
        (
            ("--dry-run", "--resume", "run"),
            "--dry-run tells of a training that has not begun, as run has: leave one of",
        ),
        (("--dry-run", "--figure", "told.pdf"), "told.pdf"),
    ],
)
def test_what_does_not_go_together_is_refused(run, train, pets, words, sentence):
    ended = run(*train, "--data", f"folder:{pets}", *words)
    assert ended.status == 2 and sentence in ended.err
