"""`mixlab train --dry-run`: everything is said, and nothing is kept that was not asked for."""

from pathlib import Path

import pytest

from mixlab.evaluation.probes import features


def test_a_dry_run_says_what_would_happen_and_writes_nothing(run, train, pets, here):
    before = sorted(here.rglob("*"))
    ended = run(*train, "--data", f"folder:{pets}", "--dry-run")
    assert ended.status == 0
    for said in ("learning_rate = 0.002", "Images per class", "parameters", "MACs", "Learning rate"):
        assert said in ended.out, said
    assert "3 steps of 8 images" in ended.out
    assert sorted(here.rglob("*")) == before


def test_its_page_is_kept_where_that_is_asked_for(run, train, pets):
    assert run(*train, "--data", f"folder:{pets}", "--dry-run", "--figure", "told.html").status == 0
    assert "<svg" in Path("told.html").read_text()


@pytest.fixture
def head(trained, pets, here, monkeypatch) -> tuple[str, ...]:
    """A head in closed form on what a run sees; the cache of features is in the current folder."""
    monkeypatch.setattr(features, "cache_folder", lambda: Path("cache"))
    (here / "head.toml").write_text(
        f'model = "{trained}"\ndata = "folder:{pets}"\n[linear_probe]\nridges = [0.1, 10.0]\n'
    )
    return ("train", "head.toml")


def test_a_head_in_closed_form_is_told_of_as_well(run, head, here):
    before = sorted(here.rglob("*"))
    ended = run(*head, "--dry-run")
    assert ended.status == 0
    for said in ("batch = 32", "Images per class", "parameters", "MACs", "cache/features/", "0.1, 10"):
        assert said in ended.out, said
    assert "28 train images; 4 validation images" in ended.out
    assert sorted(here.rglob("*")) == before


def test_features_that_are_there_already_are_counted(run, head):
    assert run(*head, "--quiet").status == 0
    out = " ".join(run(*head, "--dry-run").out.split())
    assert "28 train images (28 in the cache); 4 validation" in out
    assert "about 0.0 s for the features" in out


def test_the_page_of_a_head_is_kept_and_a_curve_of_it_is_refused(run, head):
    assert run(*head, "--dry-run", "--figure", "told.html").status == 0
    assert "<h1>Linear probe of run on folder:" in Path("told.html").read_text()
    ended = run(*head, "--dry-run", "--figure", "told.png")
    assert ended.status == 2 and "told.png: a linear probe has no learning rate schedule to draw" in ended.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--figure", "told.html"), "--figure told.html has no effect without --dry-run: add --dry-run, or remove it."),
        (
            ("--dry-run", "--resume", "run"),
            "--dry-run is for new trainings, but --resume run continues one: remove one of",
        ),
        (("--dry-run", "--figure", "told.pdf"), "told.pdf"),
    ],
)
def test_what_does_not_go_together_is_refused(run, train, pets, words, sentence):
    ended = run(*train, "--data", f"folder:{pets}", *words)
    assert ended.status == 2 and sentence in ended.err
