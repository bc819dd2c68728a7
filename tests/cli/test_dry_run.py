"""`mixlab train --dry-run`: the estimate is printed, and no files are written except --figure."""

from pathlib import Path

import pytest

from mixlab.evaluation.probes import features


def test_the_estimate_is_printed_and_no_files_are_written(run, train, pets, here):
    before = sorted(here.rglob("*"))
    ended = run(*train, "--data", f"folder:{pets}", "--dry-run")
    assert ended.status == 0
    for expected in (
        "learning_rate = 0.002",
        "Images per class",
        "parameters",
        "MACs per forward pass",
        "Learning rate",
    ):
        assert expected in ended.out, expected
    assert "3 steps of 8 images" in ended.out
    assert sorted(here.rglob("*")) == before


def test_figure_writes_a_page(run, train, pets):
    assert run(*train, "--data", f"folder:{pets}", "--dry-run", "--figure", "estimate.html").status == 0
    assert "<svg" in Path("estimate.html").read_text()


@pytest.fixture
def probe(trained, pets, here, monkeypatch) -> tuple[str, ...]:
    """A linear probe of a run; the cache of features is in the current folder."""
    monkeypatch.setattr(features, "cache_folder", lambda: Path("cache"))
    (here / "probe.toml").write_text(
        f'model = "{trained}"\ndata = "folder:{pets}"\n[linear_probe]\nridges = [0.1, 10.0]\n'
    )
    return ("train", "probe.toml")


def test_the_estimate_of_a_linear_probe_is_printed(run, probe, here):
    before = sorted(here.rglob("*"))
    ended = run(*probe, "--dry-run")
    assert ended.status == 0
    for expected in (
        "batch = 32",
        "Images per class",
        "parameters",
        "MACs per forward pass",
        "cache/features/",
        "0.1, 10",
    ):
        assert expected in ended.out, expected
    assert "28 train images; 4 validation images" in ended.out
    assert sorted(here.rglob("*")) == before


def test_features_in_the_cache_are_counted(run, probe):
    assert run(*probe, "--quiet").status == 0
    out = " ".join(run(*probe, "--dry-run").out.split())
    assert "28 train images (28 in the cache); 4 validation images" in out
    assert "about 0.0 s for the features" in out


def test_a_linear_probe_has_a_page_but_no_learning_rate_curve(run, probe):
    assert run(*probe, "--dry-run", "--figure", "estimate.html").status == 0
    assert "<h1>Linear probe of run on folder:" in Path("estimate.html").read_text()
    ended = run(*probe, "--dry-run", "--figure", "estimate.png")
    assert ended.status == 2 and "estimate.png: a linear probe has no learning rate schedule to draw" in ended.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--figure", "estimate.html"),
            "--figure estimate.html has no effect without --dry-run: add --dry-run, or remove it.",
        ),
        (
            ("--dry-run", "--resume", "run"),
            "--dry-run is for new trainings, but --resume run continues one: remove one of them.",
        ),
        (("--dry-run", "--figure", "estimate.pdf"), "estimate.pdf"),
    ],
)
def test_incompatible_options_are_refused(run, train, pets, words, sentence):
    ended = run(*train, "--data", f"folder:{pets}", *words)
    assert ended.status == 2 and sentence in ended.err
