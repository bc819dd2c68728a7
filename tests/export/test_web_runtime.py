import io
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from mixlab.errors import UserError
from mixlab.export.web_runtime import write_runtime

CONTENTS = {"ort.wasm.min.mjs": b"first", "ort-wasm-simd-threaded.mjs": b"second", "ort-wasm-simd-threaded.wasm": b"3"}
DIGESTS = {name: sha256(content).hexdigest() for name, content in CONTENTS.items()}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with the names of the real one, and short contents."""
    file = tmp_path / "package.tgz"
    _pack(file, CONTENTS)
    return file


def _pack(file: Path, contents: dict[str, bytes]) -> None:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _written(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_files_are_taken_from_a_package_or_a_folder(package: Path, tmp_path: Path) -> None:
    first, second, unpacked = (tmp_path / name for name in ("first", "second", "unpacked"))
    for folder in (first, second, unpacked):
        folder.mkdir()
    write_runtime(first, package, DIGESTS)
    with tarfile.open(package) as archive:
        archive.extractall(unpacked, filter="data")
    write_runtime(second, unpacked, DIGESTS)
    assert _written(first) == _written(second) == CONTENTS


def test_a_changed_file_is_refused(package: Path, tmp_path: Path) -> None:
    _pack(package, CONTENTS | {"ort.wasm.min.mjs": b"other"})
    with pytest.raises(UserError, match=r"ort\.wasm\.min\.mjs in .* has another SHA-256 than in onnxruntime-web 1\.30"):
        write_runtime(tmp_path, package, DIGESTS)


def test_a_missing_file_is_named(package: Path, tmp_path: Path) -> None:
    _pack(package, {"ort.wasm.min.mjs": b"first"})
    with pytest.raises(UserError, match=r"has no ort-wasm-simd-threaded\.mjs: it must be the package"):
        write_runtime(tmp_path, package, DIGESTS)


def test_a_file_that_is_no_package_is_refused(package: Path, tmp_path: Path) -> None:
    package.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"package\.tgz can't be read as a package of npm: .* with --runtime"):
        write_runtime(tmp_path, package, DIGESTS)


def test_without_npm_the_error_says_how_to_give_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"npm is not installed: run `npm pack onnxruntime-web@1\.30\.0` where npm"):
        write_runtime(tmp_path, None, DIGESTS)
