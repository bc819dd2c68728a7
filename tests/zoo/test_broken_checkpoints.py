"""Broken, hostile and mistaken files: each ends in its own sentence, and nothing that a file names is run."""

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from mixlab.errors import UserError
from mixlab.zoo.checkpoint import open_checkpoint

CASES: dict[str, tuple[str, str, Callable[[Path], Any]]] = {}


def case(file: str, words: str) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
    """`make` writes `file` of a folder; opening it and reading its tensors ends in these words."""

    def add(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
        CASES[make.__name__] = (file, words, make)
        return make

    return add


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_is_no_good_is_said_to_be_in_one_sentence(tmp_path, name):
    file, words, make = CASES[name]
    path = tmp_path / file
    make(path)
    with pytest.raises(UserError, match=words) as raised:
        checkpoint = open_checkpoint(path)
        for tensor in checkpoint.stored:
            checkpoint.tensor(tensor)
    sentence = str(raised.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


class Hostile:
    """Unpickled by a careless reader, it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.folder),)


class Call:
    """Unpickles as what `function` returns."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def plain(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=4))


def read_carelessly(path: Path) -> None:
    if path.read_bytes().startswith(b"\x80\x04"):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)


@pytest.mark.parametrize("write", [torch.save, legacy, plain])
def test_a_pickle_that_would_run_code_is_refused_and_its_code_is_not_run(tmp_path, write):
    made = tmp_path / "made"
    write({"args": Hostile(made), "state_dict": {"a": torch.ones(1)}}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"to run (posix|nt)\.mkdir, and a file's code is never run"):
        open_checkpoint(tmp_path / "w.pth")
    assert not made.exists()
    read_carelessly(tmp_path / "w.pth")
    assert made.exists()  # the file would have done it


# Nothing, or something else altogether


@case("w.pth", "w.pth is empty")
def empty(path: Path):
    path.write_bytes(b"")


@case("w.pth", r"can't be read \(No such file or directory\)")
def absent(path: Path):
    pass


@case("w.npz", "a web page, as a server sends instead")
def error_page(path: Path):
    path.write_text("\n<!DOCTYPE html><html><body>404 Not Found</body></html>")


@case("w.safetensors", "a web page, as a server sends instead")
def error_in_xml(path: Path):
    path.write_text("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>")


@case("w.bin", "git-LFS's pointer to the weights: run `git lfs pull`")
def lfs_pointer(path: Path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")


@case("w.pth", "is text, not weights")
def text(path: Path):
    path.write_text("Repository not found, or you are not logged in.")


@case("w.npz", "a single array of numpy's: give the .npz")
def single_array(path: Path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


@case("w.pth.tar", "a tar archive: unpack it first")
def tar(path: Path):
    import tarfile

    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("w.pth"))


@case("w.gz", "packed by gzip: unpack it first")
def gzipped(path: Path):
    import gzip

    path.write_bytes(gzip.compress(save({"a": torch.ones(1)})))


@case("w.h5", "HDF5, of Keras or TensorFlow")
def keras(path: Path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))


@case("w.pth", "no file of weights that mixlab knows")
def noise(path: Path):
    path.write_bytes(bytes(range(200, 256)) * 9)


@case("w.zip", "a zip of other things than weights")
def zip_of_texts(path: Path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights")


# Safetensors


def with_header(header: dict[str, Any] | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def described(dtype: str, shape: list[int], end: int) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


@case("w.safetensors", "no whole safetensors file .*cut off")
def truncated_safetensors(path: Path):
    path.write_bytes(save({"a": torch.ones(100)})[:-7])


@case("w.safetensors", "no whole safetensors file")
def safetensors_of_five_bytes(path: Path):
    path.write_bytes(save({"a": torch.ones(1)})[:5])


@case("w.safetensors", "no whole safetensors file")
def safetensors_cut_in_its_header(path: Path):
    path.write_bytes(save({"a": torch.ones(1), "b": torch.ones(1)})[:40])


@case("w.safetensors", "no whole safetensors file")
def safetensors_with_a_vast_header(path: Path):
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}" + bytes(100))


@case("w.safetensors", "no whole safetensors file")
def safetensors_with_an_absurd_shape(path: Path):
    path.write_bytes(with_header(described("F32", [10**12], 4), bytes(4)))


@case("w.safetensors", "no whole safetensors file")
def safetensors_with_offsets_beyond_its_end(path: Path):
    path.write_bytes(with_header(described("F32", [250], 1000), bytes(4)))


@case("w.safetensors", "no whole safetensors file")
def safetensors_with_a_shape_that_overflows(path: Path):
    path.write_bytes(with_header(described("F32", [2**40, 2**40], 4), bytes(4)))


@case("w.safetensors", "no whole safetensors file")
def safetensors_whose_header_is_no_json(path: Path):
    path.write_bytes(with_header(b'{"a": }', bytes(4)))


@case("w.safetensors", "declares a as .* fit no memory")
def safetensors_with_an_empty_axis_beside_a_vast_one(path: Path):
    path.write_bytes(with_header(described("F32", [0, 2**62], 0), b""))


@case("w.safetensors", "holds a as C64: mixlab reads floating-point")
def complex_safetensors(path: Path):
    save_file({"a": torch.ones(2, dtype=torch.complex64)}, path)


@case("w.safetensors", "holds no tensors")
def safetensors_of_nothing(path: Path):
    save_file({}, path)


@case("w.safetensors", "a pickle of torch's under the name of a safetensors file")
def pickle_called_safetensors(path: Path):
    torch.save({"a": torch.ones(1)}, path)


@case("w.safetensors", "a pickle of torch's under the name of a safetensors file")
def legacy_pickle_called_safetensors(path: Path):
    legacy({"a": torch.ones(1)}, path)


# The index of several files

INDEX = "model.safetensors.index.json"


def index(path: Path, weight_map: Any) -> None:
    save_file({"a": torch.ones(1)}, path.with_name("one.safetensors"))
    path.write_text(json.dumps({"weight_map": weight_map}))


@case(INDEX, r"names two\.safetensors, which is not beside it.*Fetch two\.safetensors")
def index_of_a_missing_file(path: Path):
    index(path, {"a": "one.safetensors", "b": "two.safetensors"})


@case(INDEX, r"says that a is in '\.\./one\.safetensors': an index names files of its own folder")
def index_that_leaves_its_folder(path: Path):
    index(path, {"a": "../one.safetensors"})


@case(INDEX, "says that a is in '/etc/passwd'")
def index_with_an_absolute_path(path: Path):
    index(path, {"a": "/etc/passwd"})


@case(INDEX, "says that a is in 3")
def index_with_a_number_for_a_file(path: Path):
    index(path, {"a": 3})


@case(INDEX, r"do not agree: b of one\.safetensors is missing there")
def index_of_a_tensor_that_is_missing(path: Path):
    index(path, {"a": "one.safetensors", "b": "one.safetensors"})


@case(INDEX, r"do not agree: b of one\.safetensors is in that file alone")
def index_that_leaves_out_a_tensor(path: Path):
    index(path, {"a": "one.safetensors"})
    save_file({"a": torch.ones(1), "b": torch.ones(1)}, path.with_name("one.safetensors"))


@case(INDEX, 'has no "weight_map"')
def index_without_a_map(path: Path):
    index(path, ["one.safetensors"])


@case(INDEX, "is no JSON")
def truncated_index(path: Path):
    path.write_text('{"weight_map": {"a": "one.saf')


@case(INDEX, "is no JSON")
def index_nested_without_end(path: Path):
    path.write_text('{"a":' * 200_000)


# Numpy's archive


def header(shape: str, descr: str = "'<f4'") -> bytes:
    """Of an array in version 1 of numpy's format."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npz(path: Path, member: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.npy", member)


@case("w.npz", "no whole zip, .* cut off")
def truncated_npz(path: Path):
    np.savez(path, a=np.ones(100))
    path.write_bytes(path.read_bytes()[:-50])


@case("w.npz", r"unfold from .* to 1[\d,]+ bytes: weights hardly compress")
def npz_bomb(path: Path):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w") as file,
    ):
        file.write(header("(25000000,)"))
        for _ in range(100):
            file.write(bytes(10**6))


@case("w.npz", r"unfold from .* to .* bytes: weights hardly compress")
def npz_that_declares_more_than_it_can_hold(path: Path):
    npz(path, header("(1,)") + bytes(4))
    content = bytearray(path.read_bytes())
    central = content.rindex(b"PK\x01\x02")
    content[central + 24 : central + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)


@case("w.npz", r"declares a\.npy as \(1000000000000,\) numbers of 4 bytes, which are not the 4 bytes")
def npz_with_an_absurd_shape(path: Path):
    npz(path, header("(1000000000000,)") + bytes(4))


@case("w.npz", r"declares a\.npy as \(2,\) numbers of 4 bytes, which are not the 400 bytes")
def npz_with_a_shape_too_small(path: Path):
    npz(path, header("(2,)") + bytes(400))


@case("w.npz", r"declares a\.npy as \(-1, -1\) numbers")
def npz_with_a_negative_shape(path: Path):
    npz(path, header("(-1, -1)") + bytes(4))


@case("w.npz", "fit no memory")
def npz_with_an_empty_axis_beside_a_vast_one(path: Path):
    npz(path, header(f"(0, {10**30})"))


@case("w.npz", "no whole numpy archive .*cut off or damaged")
def npz_with_a_header_that_is_code(path: Path):
    npz(path, header("__import__('os').getcwd()"))


@case("w.npz", "no whole numpy archive")
def npz_of_a_member_that_is_no_array(path: Path):
    npz(path, b"no array")


@case("w.npz", r"no whole numpy archive \(Bad CRC-32")
def npz_with_a_flipped_bit(path: Path):
    npz(path, header("(1,)") + b"\x11\x22\x33\x44")
    path.write_bytes(path.read_bytes().replace(b"\x11\x22\x33\x44", b"\x11\x22\x33\x45"))


@case("w.npz", "no whole numpy archive .*encrypted")
def npz_with_a_password(path: Path):
    npz(path, header("(1,)") + bytes(4))
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.rindex(signature) + flags] |= 1
    path.write_bytes(content)


@case("w.npz", "holds a as Python objects, which could run code")
def npz_of_objects(path: Path):
    np.savez(path, a=np.array([{"b": 1}], dtype=object))


@case("w.npz", "holds a as <U4: mixlab reads floating-point")
def npz_of_texts(path: Path):
    np.savez(path, a=np.array(["text"]))


@case("w.npz", "holds a as complex128: mixlab reads floating-point")
def npz_of_complex_numbers(path: Path):
    np.savez(path, a=np.ones(2, complex))


@case("w.npz", "holds a as longdouble|holds a as float128")
def npz_of_long_doubles(path: Path):
    np.savez(path, a=np.ones(2, np.longdouble))


@case("w.npz", r"holds a as \[\('x', '<f4'\)\]: mixlab reads")
def npz_of_records(path: Path):
    np.savez(path, a=np.ones(2, [("x", "<f4")]))


@case("w.npz", "holds a twice")
def npz_with_a_name_twice(path: Path):
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a.npy", header("(0,)"))
        archive.writestr("a.npy", header("(0,)"))


# PyTorch's pickles


def rezipped(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """`path`, a zip of torch's, with its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))


@case("w.pth", "no whole zip, .* cut off")
def truncated_zip(path: Path):
    torch.save({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-100])


@case("w.pth", "no whole file of torch.save's")
def truncated_legacy_pickle(path: Path):
    legacy({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-100])


@case("w.pth", "no whole file of torch.save's")
def legacy_pickle_cut_in_its_names(path: Path):
    legacy({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:120])


@case("w.pth", "no whole file of torch.save's")
def pickle_of_two_bytes(path: Path):
    path.write_bytes(b"\x80\x02")


@case("w.pth", "no whole file of torch.save's")
def zip_with_a_broken_pickle(path: Path):
    torch.save({"a": torch.ones(1)}, path)
    rezipped(path, lambda name, content: content[:-9] if name.endswith("data.pkl") else content)


@case("w.pth", "has w/data.pkl packed, where torch.save packs nothing")
def packed_zip(path: Path):
    torch.save({"a": torch.ones(1000)}, path)
    rezipped(path, lambda _, content: content, zipfile.ZIP_DEFLATED)


@case("w.pth", "unfold from .* bytes: weights hardly compress")
def zip_bomb_in_torch_s_format(path: Path):
    torch.save({"a": torch.ones(1)}, path)
    rezipped(path, lambda name, content: content if name.endswith("pkl") else bytes(4 * 10**7), zipfile.ZIP_DEFLATED)


@case("w.pth", r"declares a as \(1000000, 1000000\) torch.float32 numbers, of which it holds 4 bytes, repeated")
def tensor_expanded_from_one_number(path: Path):
    torch.save({"a": torch.ones(1).expand(10**6, 10**6)}, path)


@case("w.pth", r"declares a as \(1000000, 1000000\) torch.float32 numbers, of which it holds 4 bytes, repeated")
def tensor_expanded_in_the_older_format(path: Path):
    legacy({"a": torch.ones(1).expand(10**6, 10**6)}, path)


@case("w.pth", "unfold from .* bytes: weights hardly compress")
def one_tensor_under_very_many_names(path: Path):
    numbers = torch.zeros(10**6)
    torch.save({f"a{i}": numbers for i in range(100)}, path)


@case("w.pth", "has no member of that size")
def zip_with_a_storage_shorter_than_declared(path: Path):
    torch.save({"a": torch.ones(16), "b": torch.ones(99)}, path)
    rezipped(path, lambda name, content: content[:-4] if name.endswith("data/0") else content)


@case("w.pth", "no whole file of torch.save's")
def legacy_storage_that_declares_more_than_it_holds(path: Path):
    legacy({"a": torch.ones(16)}, path)
    content = path.read_bytes()
    sixteen_numbers = b"K\x10N"  # the storage's length, and no view of it
    assert content.count(sixteen_numbers) == 1
    path.write_bytes(content.replace(sixteen_numbers, b"J\xff\xff\xff\x7fN"))


@case("w.pth", r"holds more than tensors: to read it is to run builtins\.bytearray")
def pickle_that_only_fills_the_memory(path: Path):
    torch.save({"a": torch.ones(1), "b": Call(bytearray, 10**12)}, path)


@case("w.pth", r"to run torch\._utils\._rebuild_sparse_tensor")
def sparse_tensor(path: Path):
    torch.save({"a": torch.ones(2).to_sparse()}, path)


@case("w.pth", r"to run torch\._utils\._rebuild_meta_tensor_no_storage")
def tensor_without_numbers(path: Path):
    torch.save({"a": torch.ones(2, device="meta")}, path)


@case("w.pth", r"holds a whole model, not its weights: .* save its state_dict\(\)")
def whole_model(path: Path):
    torch.save(nn.Linear(2, 2), path)


@case("w.pth", r"holds a whole model, not its weights: .* save its state_dict\(\)")
def whole_model_in_the_older_format(path: Path):
    legacy({"model": nn.Linear(2, 2)}, path)


@case("w.pkl", r"to run numpy\._core\.multiarray\._reconstruct")
def plain_pickle_of_arrays(path: Path):
    path.write_bytes(pickle.dumps({"a": np.ones(2)}, protocol=2))


@case("w.pkl", "is a pickle, but not one of torch.save's")
def plain_pickle(path: Path):
    path.write_bytes(pickle.dumps({"a": [1.0]}, protocol=2))


@case("w.pth", "is in version 4 of Python's pickles")
def pickle_of_another_version(path: Path):
    torch.save({"a": torch.ones(1)}, path, pickle_protocol=4)


@case("w.pth", "holds a Tensor, not a dictionary of tensors")
def lone_tensor(path: Path):
    torch.save(torch.ones(1), path)


@case("w.pth", "holds a list, not a dictionary of tensors")
def list_of_tensors(path: Path):
    torch.save([torch.ones(1)], path)


@case("w.pth", "holds no tensors under names, but epoch, lr: .* state_dict, model, params")
def dictionary_without_tensors(path: Path):
    torch.save({"epoch": 3, "lr": 0.1}, path)


@case("w.pth", "has a tensor under 3: tensors have names")
def tensor_under_a_number(path: Path):
    torch.save({"state_dict": {"a": torch.ones(1), 3: torch.ones(1)}}, path)


@case("w.pth", r"holds a as torch\.complex64: mixlab reads floating-point")
def complex_tensor(path: Path):
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, path)


@case("w.pt", "is a TorchScript program, and a file's code is never run")
def torchscript(path: Path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("w/data.pkl", "w/constants.pkl", "w/code/__torch__.py"):
            archive.writestr(name, b"\x80\x02}.")


def test_a_dictionary_that_holds_itself_is_read_like_another(tmp_path):
    found: dict[str, Any] = {"a": torch.ones(1)}
    found["model"] = found
    torch.save(found, tmp_path / "w.pth")
    assert list(open_checkpoint(tmp_path / "w.pth").stored) == ["a"]


def test_a_safetensors_file_whose_first_byte_is_another_format_s_is_read(tmp_path):
    """The header's length comes first: 0x50 is the P of a zip, 0x3c the < of a page, 0x80 a pickle's."""
    for first in b"\x50\x3c\x80":
        length = first if first >= 100 else first + 256
        text = json.dumps(described("F32", [1], 4)).encode().ljust(length)
        (tmp_path / "w").write_bytes(with_header(text, bytes(4)))
        assert list(open_checkpoint(tmp_path / "w").stored) == ["a"]
