"""Safetensors that are cut off, lie in their header, or have an index that leads astray."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from mixlab.weights.storage.checkpoint import open_checkpoint


def with_header(header: dict[str, Any] | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def described(dtype: str, shape: list[int], end: int) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


def truncated_safetensors(path: Path):
    path.write_bytes(save({"a": torch.ones(100)})[:-7])


def safetensors_of_five_bytes(path: Path):
    path.write_bytes(save({"a": torch.ones(1)})[:5])


def safetensors_cut_in_its_header(path: Path):
    path.write_bytes(save({"a": torch.ones(1), "b": torch.ones(1)})[:40])


def safetensors_with_a_vast_header(path: Path):
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}" + bytes(100))


def safetensors_with_an_absurd_shape(path: Path):
    path.write_bytes(with_header(described("F32", [10**12], 4), bytes(4)))


def safetensors_with_offsets_beyond_its_end(path: Path):
    path.write_bytes(with_header(described("F32", [250], 1000), bytes(4)))


def safetensors_with_a_shape_that_overflows(path: Path):
    path.write_bytes(with_header(described("F32", [2**40, 2**40], 4), bytes(4)))


def safetensors_whose_header_is_no_json(path: Path):
    path.write_bytes(with_header(b'{"a": }', bytes(4)))


def safetensors_with_an_empty_axis_beside_a_vast_one(path: Path):
    path.write_bytes(with_header(described("F32", [0, 2**62], 0), b""))


def complex_safetensors(path: Path):
    save_file({"a": torch.ones(2, dtype=torch.complex64)}, path)


def safetensors_of_nothing(path: Path):
    save_file({}, path)


def pickle_called_safetensors(path: Path):
    torch.save({"a": torch.ones(1)}, path)


def legacy_pickle_called_safetensors(path: Path):
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)


INDEX = "model.safetensors.index.json"


def index(path: Path, weight_map: Any) -> None:
    save_file({"a": torch.ones(1)}, path.with_name("one.safetensors"))
    path.write_text(json.dumps({"weight_map": weight_map}))


def index_of_a_missing_file(path: Path):
    index(path, {"a": "one.safetensors", "b": "two.safetensors"})


def index_that_leaves_its_folder(path: Path):
    index(path, {"a": "../one.safetensors"})


def index_with_an_absolute_path(path: Path):
    index(path, {"a": "/etc/passwd"})


def index_with_a_number_for_a_file(path: Path):
    index(path, {"a": 3})


def index_of_a_tensor_that_is_missing(path: Path):
    index(path, {"a": "one.safetensors", "b": "one.safetensors"})


def index_that_leaves_out_a_tensor(path: Path):
    index(path, {"a": "one.safetensors"})
    save_file({"a": torch.ones(1), "b": torch.ones(1)}, path.with_name("one.safetensors"))


def index_without_a_map(path: Path):
    index(path, ["one.safetensors"])


def truncated_index(path: Path):
    path.write_text('{"weight_map": {"a": "one.saf')


def index_nested_without_end(path: Path):
    path.write_text('{"a":' * 200_000)


@pytest.mark.parametrize(
    ("make", "file", "words"),
    [
        (truncated_safetensors, "w.safetensors", "no whole safetensors file .*cut off"),
        (safetensors_of_five_bytes, "w.safetensors", "no whole safetensors file"),
        (safetensors_cut_in_its_header, "w.safetensors", "no whole safetensors file"),
        (safetensors_with_a_vast_header, "w.safetensors", "no whole safetensors file"),
        (safetensors_with_an_absurd_shape, "w.safetensors", "no whole safetensors file"),
        (safetensors_with_offsets_beyond_its_end, "w.safetensors", "no whole safetensors file"),
        (safetensors_with_a_shape_that_overflows, "w.safetensors", "no whole safetensors file"),
        (safetensors_whose_header_is_no_json, "w.safetensors", "no whole safetensors file"),
        (safetensors_with_an_empty_axis_beside_a_vast_one, "w.safetensors", "declares a as .* fit no memory"),
        (complex_safetensors, "w.safetensors", "holds a as C64: mixlab reads floating-point"),
        (safetensors_of_nothing, "w.safetensors", "holds no tensors"),
        (pickle_called_safetensors, "w.safetensors", "a pickle of torch's under the name of a safetensors file"),
        (legacy_pickle_called_safetensors, "w.safetensors", "a pickle of torch's under the name of a safetensors file"),
        (index_of_a_missing_file, INDEX, r"names two\.safetensors, which is not beside it.*Fetch two\.safetensors"),
        (
            index_that_leaves_its_folder,
            INDEX,
            r"says that a is in '\.\./one\.safetensors': an index names files of its own folder",
        ),
        (index_with_an_absolute_path, INDEX, "says that a is in '/etc/passwd'"),
        (index_with_a_number_for_a_file, INDEX, "says that a is in 3"),
        (index_of_a_tensor_that_is_missing, INDEX, r"do not agree: b of one\.safetensors is missing there"),
        (index_that_leaves_out_a_tensor, INDEX, r"do not agree: b of one\.safetensors is in that file alone"),
        (index_without_a_map, INDEX, 'has no "weight_map"'),
        (truncated_index, INDEX, "is no JSON"),
        (index_nested_without_end, INDEX, "is no JSON"),
    ],
)
def test_safetensors_that_are_no_good_are_said_to_be(tmp_path, refused, make, file, words):
    make(tmp_path / file)
    refused(tmp_path / file, words)


def test_a_safetensors_file_whose_first_byte_is_another_format_s_is_read(tmp_path):
    """The header's length comes first: 0x50 is the P of a zip, 0x3c the < of a page, 0x80 a pickle's."""
    for first in b"\x50\x3c\x80":
        length = first if first >= 100 else first + 256
        text = json.dumps(described("F32", [1], 4)).encode().ljust(length)
        (tmp_path / "w").write_bytes(with_header(text, bytes(4)))
        assert list(open_checkpoint(tmp_path / "w").stored) == ["a"]
