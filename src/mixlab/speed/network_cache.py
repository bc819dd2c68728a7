"""Networks of OpenVINO in the user's cache folder, so that a model is converted and quantised once.

An entry is one file with the graph, the weights and a checksum. A damaged entry is built again. A new network is read
back from the bytes of its entry, so that the first answers come from the same network as all later ones. When the
folder exceeds `MAX_BYTES`, the entries that were not used for the longest time are removed.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import nn

from mixlab.files import WriteError, atomic_file, cache_folder
from mixlab.runs.store import store_key
from mixlab.speed.openvino import core, to_openvino

if TYPE_CHECKING:
    import openvino

MAX_BYTES = 4 * 2**30
"""The size of the folder. A larger network is not stored."""

NetworkKey = Callable[[], Mapping[str, Any]]
"""Returns everything that determines a model, as JSON-serializable values: the content of its weights, its config, and
what is computed around it. It is called only if the cache is used, because the weights have to be hashed."""

_PACKAGES = ("torch", "timm", "transformers", "birder", "onnx", "onnxscript", "openvino", "nncf")
"""Packages that build, convert or quantise a model."""


def conversion_key(key: NetworkKey, image_shape: Sequence[int]) -> dict[str, Any]:
    """The key of the conversion of a model; image_shape is (channel, row, column)."""
    return {"model": dict(key()), "image": list(image_shape)}


def cached_conversion(model: nn.Module, image_shape: Sequence[int], key: NetworkKey | None) -> "openvino.Model":
    """`to_openvino`, with its errors, from the cache if possible; None as a key does not use the cache."""
    if key is None:
        return to_openvino(model, image_shape)
    return cached_network(conversion_key(key, image_shape), lambda: to_openvino(model, image_shape))


def cached_network(key: Mapping[str, Any], build: Callable[[], "openvino.Model"]) -> "openvino.Model":
    """The network of an entry; if there is none, or it is damaged, `build` makes the network.

    key  everything that determines the network, apart from the versions of mixlab and of the libraries

    Raises UserError if openvino is not installed.
    """
    reader = core()
    file = _file(key)
    parts = _read(file)
    if parts is None:
        parts = _serialized(build())
        with suppress(WriteError):  # without a cache, the next job builds it again
            _write(file, parts)
            _remove_unused(file.parent)
    return reader.read_model(parts["graph"].tobytes(), parts["weights"].tobytes())


def is_cached(key: Mapping[str, Any]) -> bool:
    """Whether there is an entry, which may be damaged."""
    return _file(key).is_file()


_Parts = Mapping[str, UInt8[np.ndarray, " byte"]]
"""The bytes of an entry: "graph", "weights" and "checksum"."""


def library_versions() -> dict[str, str]:
    """Of the installed libraries that build, convert or run models."""
    versions = {}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _file(key: Mapping[str, Any]) -> Path:
    return cache_folder() / "networks" / f"{store_key({**key, 'versions': library_versions()})}.safetensors"


def _serialized(network: "openvino.Model") -> _Parts:
    import openvino

    with TemporaryDirectory() as folder:
        graph = Path(folder) / "network.xml"
        openvino.save_model(network, graph, compress_to_fp16=False)
        files = {"graph": graph, "weights": graph.with_suffix(".bin")}
        return {name: np.frombuffer(file.read_bytes(), np.uint8) for name, file in files.items()}


def _write(file: Path, parts: _Parts) -> None:
    with atomic_file(file) as temporary:
        temporary.write_bytes(save({**parts, "checksum": _checksum(parts)}))


def _read(file: Path) -> _Parts | None:
    """The parts of an entry; None if it is missing or damaged."""
    try:
        parts = load(file.read_bytes())
        is_intact = np.array_equal(parts["checksum"], _checksum(parts))
    except (OSError, SafetensorError, KeyError):
        return None
    if not is_intact:
        return None
    with suppress(OSError):
        os.utime(file)  # it was used
    return parts


def _checksum(parts: _Parts) -> UInt8[np.ndarray, " byte"]:
    digest = hashlib.sha256()
    for name in ("graph", "weights"):
        digest.update(parts[name].size.to_bytes(8))
        digest.update(parts[name].data)
    return np.frombuffer(digest.digest(), np.uint8)


def _remove_unused(folder: Path) -> None:
    """Remove the files that were not used for the longest time until `MAX_BYTES` are left."""
    states = []
    for file in folder.iterdir():
        with suppress(FileNotFoundError):  # another process removes files, too
            states.append((file, file.stat()))
    total = 0
    for file, state in sorted(states, key=lambda each: each[1].st_mtime, reverse=True):
        total += state.st_size
        if total > MAX_BYTES:
            with suppress(OSError):
                file.unlink(missing_ok=True)
