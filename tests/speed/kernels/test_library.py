"""The native kernels: compiled once, and a reason if they can't be compiled."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from mixlab.files import write_text
from mixlab.speed.kernels import library
from mixlab.speed.kernels.library import KernelsUnavailableError, kernels


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(library, "cache_folder", lambda: tmp_path)
    kernels.cache_clear()
    yield
    kernels.cache_clear()


@pytest.fixture
def not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file in place of a compiled one: the name of a build does not depend on its content."""
    monkeypatch.setattr(library, "_compile", lambda path: write_text(path, ""))
    monkeypatch.setattr(library.ctypes, "CDLL", lambda path: None)


def test_they_are_compiled_once(tmp_path, monkeypatch):
    build = kernels().build
    (compiled,) = (tmp_path / "kernels").iterdir()
    before = compiled.stat().st_mtime_ns
    kernels.cache_clear()
    monkeypatch.setattr("torch.utils.cpp_extension.load", None)
    assert kernels().build == build
    assert compiled.stat().st_mtime_ns == before


@pytest.mark.usefixtures("not_compiled")
def test_the_build_names_the_compiler_the_flags_and_a_digest(tmp_path):
    compiler, flags, digest = kernels().build.rsplit(", ", 2)
    assert "-O3 -march=native" in flags
    assert [file.stem for file in (tmp_path / "kernels").iterdir()] == [digest]
    assert compiler


@pytest.mark.usefixtures("not_compiled")
def test_other_flags_give_another_build(monkeypatch):
    before = kernels().build
    kernels.cache_clear()
    monkeypatch.setattr(library, "_FLAGS", (*library._FLAGS, "-funroll-loops"))
    assert kernels().build != before


@pytest.mark.usefixtures("not_compiled")
def test_another_processor_gives_another_build(tmp_path, monkeypatch):
    """Even with the same compiler and the same flags, which select other instructions there."""
    before = kernels().build
    kernels.cache_clear()
    compiler = tmp_path / "c++"
    compiler.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        "os.execvp('c++', ['c++', *(argument for argument in sys.argv[1:] if argument != '-march=native')])\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert kernels().build != before
    assert kernels().build.rsplit(", ", 1)[0] == before.rsplit(", ", 1)[0]


def test_without_a_compiler_the_reason_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(KernelsUnavailableError, match=r"^no C\+\+ compiler was found$"):
        kernels()


def test_a_compiler_that_fails_is_named_and_leaves_nothing_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "_FLAGS", ("-std=c++17", "-no-such-flag"))
    with pytest.raises(KernelsUnavailableError, match="can't compile them"):
        kernels()
    assert not list(tmp_path.rglob("*.so"))


def test_a_compiled_file_that_can_t_be_loaded_is_the_reason(tmp_path, monkeypatch):
    (tmp_path / "kernels").mkdir()
    monkeypatch.setattr(library, "_compile", lambda path: path.write_bytes(b"of another machine"))
    with pytest.raises(KernelsUnavailableError, match=r"\.so can't be loaded \(OSError: "):
        kernels()


def test_ninja_need_not_be_on_the_path(monkeypatch, tmp_path):
    """As in a virtual environment that is not active. Only the compiler and its programs are on the path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for program in ("c++", "as", "ld", "which"):
        (programs / program).symlink_to(shutil.which(program) or pytest.skip(f"this machine has no {program}"))
    monkeypatch.setenv("PATH", str(programs))
    assert kernels().build
    assert os.environ["PATH"] == str(programs)


def test_a_cache_that_can_t_be_written_is_the_reason(tmp_path, monkeypatch):
    (tmp_path / "kernels").write_text("a file")
    with pytest.raises(KernelsUnavailableError, match="kernels"):
        kernels()
