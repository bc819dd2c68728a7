"""The native kernels: compiled once, and a reason if they can't be compiled."""

from pathlib import Path

import pytest

from mixlab.speed.kernels import library
from mixlab.speed.kernels.library import KernelsUnavailableError, kernels


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(library, "cache_folder", lambda: tmp_path)
    kernels.cache_clear()
    yield
    kernels.cache_clear()


def test_they_are_compiled_once(tmp_path, monkeypatch):
    build = kernels().build
    (compiled,) = (tmp_path / "kernels").iterdir()
    before = compiled.stat().st_mtime_ns
    kernels.cache_clear()
    monkeypatch.setattr("torch.utils.cpp_extension.load", None)
    assert kernels().build == build
    assert compiled.stat().st_mtime_ns == before


def test_the_build_names_the_compiler_the_flags_and_a_digest(tmp_path):
    compiler, flags, digest = kernels().build.rsplit(", ", 2)
    assert "-O3 -march=native" in flags
    assert [file.stem for file in (tmp_path / "kernels").iterdir()] == [digest]
    assert compiler


@pytest.mark.parametrize("changed", ["_FLAGS", "processor"])
def test_other_flags_or_another_processor_give_another_build(monkeypatch, changed):
    before = kernels().build
    kernels.cache_clear()
    values = {"_FLAGS": (*library._FLAGS, "-funroll-loops"), "processor": lambda: "another"}
    monkeypatch.setattr(library, changed, values[changed])
    assert kernels().build != before


def test_without_a_compiler_the_reason_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(KernelsUnavailableError, match=r"^no C\+\+ compiler was found$"):
        kernels()


def test_a_compiler_that_fails_is_named_and_leaves_nothing_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "_FLAGS", ("-std=c++17", "-no-such-flag"))
    with pytest.raises(KernelsUnavailableError, match="can't compile them"):
        kernels()
    assert not list(tmp_path.rglob("*.so"))
