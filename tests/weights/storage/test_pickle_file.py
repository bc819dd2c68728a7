"""Pickle files that are truncated, would run code or fill the memory, or contain no weights."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.weights.storage.weights_file import open_weights_file


class Hostile:
    """Creates a folder when it is unpickled without care."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.folder),)


class Call:
    """Unpickles as the return value of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def plain(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=4))


def read_without_care(path: Path) -> None:
    if path.read_bytes().startswith(b"\x80\x04"):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)


@pytest.mark.parametrize("write", [torch.save, legacy, plain])
def test_a_pickle_that_would_run_code_is_refused_and_its_code_is_not_run(tmp_path, write):
    created = tmp_path / "created"
    write({"args": Hostile(created), "state_dict": {"a": torch.ones(1)}}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"would run (posix|nt)\.mkdir, and mixlab never runs code from a file"):
        open_weights_file(tmp_path / "w.pth")
    assert not created.exists()
    read_without_care(tmp_path / "w.pth")
    assert created.exists()  # the file does run code in a reader without checks


def rezipped(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Rewrites `path`, a zip file of torch.save, with `change` applied to its members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))


def truncated_zip(path: Path):
    torch.save({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-100])


def truncated_legacy_pickle(path: Path):
    legacy({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-100])


def legacy_pickle_truncated_in_its_names(path: Path):
    legacy({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:120])


def pickle_of_two_bytes(path: Path):
    path.write_bytes(b"\x80\x02")


def zip_with_a_broken_pickle(path: Path):
    torch.save({"a": torch.ones(1)}, path)
    rezipped(path, lambda name, content: content[:-9] if name.endswith("data.pkl") else content)


def zip_with_a_garbled_name(path: Path):
    torch.save({"a": torch.ones(1)}, path)
    path.write_bytes(path.read_bytes().replace(b"w/data.pkl", b"\xd8/data.pkl", 1))


def compressed_zip(path: Path):
    torch.save({"a": torch.ones(1000)}, path)
    rezipped(path, lambda _, content: content, zipfile.ZIP_DEFLATED)


def zip_bomb_in_the_format_of_torch(path: Path):
    torch.save({"a": torch.ones(1)}, path)
    rezipped(path, lambda name, content: content if name.endswith("pkl") else bytes(4 * 10**7), zipfile.ZIP_DEFLATED)


def tensor_expanded_from_one_number(path: Path):
    torch.save({"a": torch.ones(1).expand(10**6, 10**6)}, path)


def tensor_expanded_in_the_legacy_format(path: Path):
    legacy({"a": torch.ones(1).expand(10**6, 10**6)}, path)


def one_tensor_under_very_many_names(path: Path):
    numbers = torch.zeros(10**6)
    torch.save({f"a{i}": numbers for i in range(100)}, path)


def zip_with_a_storage_shorter_than_declared(path: Path):
    torch.save({"a": torch.ones(16), "b": torch.ones(99)}, path)
    rezipped(path, lambda name, content: content[:-4] if name.endswith("data/0") else content)


def legacy_storage_that_declares_more_than_it_stores(path: Path):
    legacy({"a": torch.ones(16)}, path)
    content = path.read_bytes()
    sixteen_numbers = b"K\x10N"  # the length of the storage, then None for its view
    assert content.count(sixteen_numbers) == 1
    path.write_bytes(content.replace(sixteen_numbers, b"J\xff\xff\xff\x7fN"))


def pickle_that_only_fills_the_memory(path: Path):
    torch.save({"a": torch.ones(1), "b": Call(bytearray, 10**12)}, path)


def sparse_tensor(path: Path):
    torch.save({"a": torch.ones(2).to_sparse()}, path)


def tensor_without_numbers(path: Path):
    torch.save({"a": torch.ones(2, device="meta")}, path)


def whole_model(path: Path):
    torch.save(nn.Linear(2, 2), path)


def whole_model_in_the_legacy_format(path: Path):
    legacy({"model": nn.Linear(2, 2)}, path)


def plain_pickle_of_arrays(path: Path):
    path.write_bytes(pickle.dumps({"a": np.ones(2)}, protocol=2))


def plain_pickle(path: Path):
    path.write_bytes(pickle.dumps({"a": [1.0]}, protocol=2))


def pickle_of_another_protocol(path: Path):
    torch.save({"a": torch.ones(1)}, path, pickle_protocol=4)


def single_tensor(path: Path):
    torch.save(torch.ones(1), path)


def list_of_tensors(path: Path):
    torch.save([torch.ones(1)], path)


def dictionary_without_tensors(path: Path):
    torch.save({"epoch": 3, "lr": 0.1}, path)


def tensor_under_a_number(path: Path):
    torch.save({"state_dict": {"a": torch.ones(1), 3: torch.ones(1)}}, path)


def complex_tensor(path: Path):
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, path)


def torchscript(path: Path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("w/data.pkl", "w/constants.pkl", "w/code/__torch__.py"):
            archive.writestr(name, b"\x80\x02}.")


@pytest.mark.parametrize(
    ("make", "file", "pattern"),
    [
        (truncated_zip, "w.pth", "not a complete zip archive .* truncated"),
        (truncated_legacy_pickle, "w.pth", "not a complete file of torch.save"),
        (legacy_pickle_truncated_in_its_names, "w.pth", "not a complete file of torch.save"),
        (pickle_of_two_bytes, "w.pth", "not a complete file of torch.save"),
        (zip_with_a_broken_pickle, "w.pth", "not a complete file of torch.save"),
        (zip_with_a_garbled_name, "w.pth", "not a complete file of torch.save"),
        (compressed_zip, "w.pth", "contains w/data.pkl in compressed form, which torch.save never writes"),
        (zip_bomb_in_the_format_of_torch, "w.pth", "unpack from .* bytes: weights hardly compress"),
        (
            tensor_expanded_from_one_number,
            "w.pth",
            r"declares a as torch.float32 with shape \(1000000, 1000000\), but stores only 4 bytes, which it repeats",
        ),
        (
            tensor_expanded_in_the_legacy_format,
            "w.pth",
            r"declares a as torch.float32 with shape \(1000000, 1000000\), but stores only 4 bytes, which it repeats",
        ),
        (one_tensor_under_very_many_names, "w.pth", "unpack from .* bytes: weights hardly compress"),
        (zip_with_a_storage_shorter_than_declared, "w.pth", "but has no member of that size"),
        (legacy_storage_that_declares_more_than_it_stores, "w.pth", "not a complete file of torch.save"),
        (
            pickle_that_only_fills_the_memory,
            "w.pth",
            r"contains more than tensors: reading it would run builtins\.bytearray",
        ),
        (sparse_tensor, "w.pth", r"would run torch\._utils\._rebuild_sparse_tensor"),
        (tensor_without_numbers, "w.pth", r"would run torch\._utils\._rebuild_meta_tensor_no_storage"),
        (whole_model, "w.pth", r"contains a whole model, not only its weights: .* save only its state_dict\(\)"),
        (
            whole_model_in_the_legacy_format,
            "w.pth",
            r"contains a whole model, not only its weights: .* save only its state_dict\(\)",
        ),
        (plain_pickle_of_arrays, "w.pkl", r"would run numpy\._core\.multiarray\._reconstruct"),
        (plain_pickle, "w.pkl", "is a pickle that was not written by torch.save"),
        (pickle_of_another_protocol, "w.pth", "uses pickle protocol 4"),
        (single_tensor, "w.pth", "contains a Tensor, not a dictionary of tensors"),
        (list_of_tensors, "w.pth", "contains a list, not a dictionary of tensors"),
        (
            dictionary_without_tensors,
            "w.pth",
            r"contains no named tensors, .* \(keys: epoch, lr\) nor in a dictionary under one of its keys",
        ),
        (tensor_under_a_number, "w.pth", "has a tensor with the key 3: keys must be names"),
        (complex_tensor, "w.pth", r"stores a as torch\.complex64: mixlab reads floating-point"),
        (torchscript, "w.pt", "is a TorchScript program, and mixlab never runs code from a file"),
    ],
)
def test_bad_pickle_files_are_refused(tmp_path, refused, make, file, pattern):
    make(tmp_path / file)
    refused(tmp_path / file, pattern)


def test_a_dictionary_that_contains_itself_is_read(tmp_path):
    content: dict[str, Any] = {"a": torch.ones(1)}
    content["model"] = content
    torch.save(content, tmp_path / "w.pth")
    assert list(open_weights_file(tmp_path / "w.pth").stored) == ["a"]
