"""Pickles that are cut off, would run code or fill the memory, or hold no weights."""

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
from mixlab.weights.storage.checkpoint import open_checkpoint


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


def rezipped(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """`path`, a zip of torch's, with its members changed."""
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


def legacy_pickle_cut_in_its_names(path: Path):
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


def packed_zip(path: Path):
    torch.save({"a": torch.ones(1000)}, path)
    rezipped(path, lambda _, content: content, zipfile.ZIP_DEFLATED)


def zip_bomb_in_torch_s_format(path: Path):
    torch.save({"a": torch.ones(1)}, path)
    rezipped(path, lambda name, content: content if name.endswith("pkl") else bytes(4 * 10**7), zipfile.ZIP_DEFLATED)


def tensor_expanded_from_one_number(path: Path):
    torch.save({"a": torch.ones(1).expand(10**6, 10**6)}, path)


def tensor_expanded_in_the_older_format(path: Path):
    legacy({"a": torch.ones(1).expand(10**6, 10**6)}, path)


def one_tensor_under_very_many_names(path: Path):
    numbers = torch.zeros(10**6)
    torch.save({f"a{i}": numbers for i in range(100)}, path)


def zip_with_a_storage_shorter_than_declared(path: Path):
    torch.save({"a": torch.ones(16), "b": torch.ones(99)}, path)
    rezipped(path, lambda name, content: content[:-4] if name.endswith("data/0") else content)


def legacy_storage_that_declares_more_than_it_holds(path: Path):
    legacy({"a": torch.ones(16)}, path)
    content = path.read_bytes()
    sixteen_numbers = b"K\x10N"  # the storage's length, and no view of it
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


def whole_model_in_the_older_format(path: Path):
    legacy({"model": nn.Linear(2, 2)}, path)


def plain_pickle_of_arrays(path: Path):
    path.write_bytes(pickle.dumps({"a": np.ones(2)}, protocol=2))


def plain_pickle(path: Path):
    path.write_bytes(pickle.dumps({"a": [1.0]}, protocol=2))


def pickle_of_another_version(path: Path):
    torch.save({"a": torch.ones(1)}, path, pickle_protocol=4)


def lone_tensor(path: Path):
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
    ("make", "file", "words"),
    [
        (truncated_zip, "w.pth", "no whole zip, .* cut off"),
        (truncated_legacy_pickle, "w.pth", "no whole file of torch.save's"),
        (legacy_pickle_cut_in_its_names, "w.pth", "no whole file of torch.save's"),
        (pickle_of_two_bytes, "w.pth", "no whole file of torch.save's"),
        (zip_with_a_broken_pickle, "w.pth", "no whole file of torch.save's"),
        (zip_with_a_garbled_name, "w.pth", "no whole file of torch.save's"),
        (packed_zip, "w.pth", "has w/data.pkl packed, where torch.save packs nothing"),
        (zip_bomb_in_torch_s_format, "w.pth", "unfold from .* bytes: weights hardly compress"),
        (
            tensor_expanded_from_one_number,
            "w.pth",
            r"declares a as \(1000000, 1000000\) torch.float32 numbers, of which it holds 4 bytes, repeated",
        ),
        (
            tensor_expanded_in_the_older_format,
            "w.pth",
            r"declares a as \(1000000, 1000000\) torch.float32 numbers, of which it holds 4 bytes, repeated",
        ),
        (one_tensor_under_very_many_names, "w.pth", "unfold from .* bytes: weights hardly compress"),
        (zip_with_a_storage_shorter_than_declared, "w.pth", "has no member of that size"),
        (legacy_storage_that_declares_more_than_it_holds, "w.pth", "no whole file of torch.save's"),
        (
            pickle_that_only_fills_the_memory,
            "w.pth",
            r"holds more than tensors: to read it is to run builtins\.bytearray",
        ),
        (sparse_tensor, "w.pth", r"to run torch\._utils\._rebuild_sparse_tensor"),
        (tensor_without_numbers, "w.pth", r"to run torch\._utils\._rebuild_meta_tensor_no_storage"),
        (whole_model, "w.pth", r"holds a whole model, not its weights: .* save its state_dict\(\)"),
        (whole_model_in_the_older_format, "w.pth", r"holds a whole model, not its weights: .* save its state_dict\(\)"),
        (plain_pickle_of_arrays, "w.pkl", r"to run numpy\._core\.multiarray\._reconstruct"),
        (plain_pickle, "w.pkl", "is a pickle, but not one of torch.save's"),
        (pickle_of_another_version, "w.pth", "is in version 4 of Python's pickles"),
        (lone_tensor, "w.pth", "holds a Tensor, not a dictionary of tensors"),
        (list_of_tensors, "w.pth", "holds a list, not a dictionary of tensors"),
        (
            dictionary_without_tensors,
            "w.pth",
            "holds no tensors under names, but epoch, lr: .* state_dict, model, params",
        ),
        (tensor_under_a_number, "w.pth", "has a tensor under 3: tensors have names"),
        (complex_tensor, "w.pth", r"holds a as torch\.complex64: mixlab reads floating-point"),
        (torchscript, "w.pt", "is a TorchScript program, and a file's code is never run"),
    ],
)
def test_a_pickle_that_is_no_good_is_said_to_be(tmp_path, refused, make, file, words):
    make(tmp_path / file)
    refused(tmp_path / file, words)


def test_a_dictionary_that_holds_itself_is_read_like_another(tmp_path):
    found: dict[str, Any] = {"a": torch.ones(1)}
    found["model"] = found
    torch.save(found, tmp_path / "w.pth")
    assert list(open_checkpoint(tmp_path / "w.pth").stored) == ["a"]
