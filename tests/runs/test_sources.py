"""The digest of the sources: changed code changes it, comments and code that only reads results do not."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import mixlab
from mixlab.runs import sources
from mixlab.runs.sources import EXCLUDED, code_digest, sources_digest

PARSED_ONCE = cache(code_digest)
PACKAGE = Path(mixlab.__file__).parent
INCLUDED = sorted(
    {
        file.parent.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if not any(file.is_relative_to(PACKAGE / excluded) for excluded in EXCLUDED)
    }
)


@pytest.fixture
def package(tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of the package whose sources are read instead."""
    copy = tmp_path / "mixlab"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources.mixlab, "__file__", str(copy / "__init__.py"))
    monkeypatch.setattr(sources, "code_digest", PARSED_ONCE)
    sources_digest.cache_clear()
    yield copy
    sources_digest.cache_clear()


@pytest.fixture
def changes(package) -> Callable[[Path, str], bool]:
    """Whether text appended to a file changes the digest."""

    def changes(file: Path, text: str) -> bool:
        before = sources_digest()
        with file.open("a") as opened:
            opened.write(text)
        sources_digest.cache_clear()
        return sources_digest() != before

    return changes


def test_the_folders_that_compute_a_result_are_included():
    assert {"data/augmentation", "models", "models/variants", "speed", "training", "weights", "zoo"} <= set(INCLUDED)


@pytest.mark.parametrize("folder", INCLUDED)
def test_changed_code_in_an_included_folder_changes_the_digest(package, changes, folder):
    assert changes(next(iter(sorted((package / folder).glob("*.py")))), "\nCHANGED = 1\n")


@pytest.mark.parametrize("folder", INCLUDED)
def test_a_comment_does_not_change_the_digest(package, changes, folder):
    assert not changes(next(iter(sorted((package / folder).glob("*.py")))), '\n# changed\n\n"""changed"""\n')


@pytest.mark.parametrize("excluded", EXCLUDED)
def test_code_that_only_reads_results_does_not_change_the_digest(package, changes, excluded):
    path = package / excluded
    assert path.exists(), "an entry of EXCLUDED that does not exist"
    assert not changes(path if path.is_file() else next(path.rglob("*.py")), "\nCHANGED = 1\n")


@pytest.mark.parametrize("name", ["training/losses/focal.py", "kernels/window.cu"])
def test_a_new_file_in_a_new_folder_changes_the_digest(package, changes, name):
    file = package / name
    file.parent.mkdir()
    assert changes(file, "CHANGED = 1\n")


@pytest.mark.parametrize(
    ("source", "equal"),
    [
        ("def f(x):\n    return x + 1\n", True),
        ('"""A module."""\n\ndef f(x):  # one more\n    """One more."""\n\n    return (x + 1)\n', True),
        ("def f(x):\n    return x + 2\n", False),
        ("def f(x, y=0):\n    return x + 1\n", False),
    ],
    ids=["same", "comments and layout", "another number", "another parameter"],
)
def test_code_is_compared_without_comments_docstrings_and_layout(source, equal):
    assert (code_digest(source) == code_digest("def f(x):\n    return x + 1")) == equal
