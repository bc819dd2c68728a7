"""Safetensors files that are truncated, have a wrong header, or have a wrong index."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from mixlab.weights.storage.weights_file import open_weights_file


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


def safetensors_with_a_huge_header(path: Path):
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}" + bytes(100))


def safetensors_with_an_absurd_shape(path: Path):
    path.write_bytes(with_header(described("F32", [10**12], 4), bytes(4)))


def safetensors_with_offsets_beyond_its_end(path: Path):
    path.write_bytes(with_header(described("F32", [250], 1000), bytes(4)))


def safetensors_with_a_shape_that_overflows(path: Path):
    path.write_bytes(with_header(described("F32", [2**40, 2**40], 4), bytes(4)))


def safetensors_with_an_invalid_header(path: Path):
    path.write_bytes(with_header(b'{"a": }', bytes(4)))


def safetensors_with_an_empty_and_a_huge_axis(path: Path):
    path.write_bytes(with_header(described("F32", [0, 2**62], 0), b""))


def complex_safetensors(path: Path):
    save_file({"a": torch.ones(2, dtype=torch.complex64)}, path)


def safetensors_without_tensors(path: Path):
    save_file({}, path)


def pickle_named_safetensors(path: Path):
    torch.save({"a": torch.ones(1)}, path)


def legacy_pickle_named_safetensors(path: Path):
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)


INDEX = "model.safetensors.index.json"


def index(path: Path, weight_map: Any) -> None:
    save_file({"a": torch.ones(1)}, path.with_name("one.safetensors"))
    path.write_text(json.dumps({"weight_map": weight_map}))


def index_with_a_missing_file(path: Path):
    index(path, {"a": "one.safetensors", "b": "two.safetensors"})


def index_that_points_outside_its_folder(path: Path):
    index(path, {"a": "../one.safetensors"})


def index_with_an_absolute_path(path: Path):
    index(path, {"a": "/etc/passwd"})


def index_with_a_number_for_a_file(path: Path):
    index(path, {"a": 3})


def index_with_a_missing_tensor(path: Path):
    index(path, {"a": "one.safetensors", "b": "one.safetensors"})


def index_that_omits_a_tensor(path: Path):
    index(path, {"a": "one.safetensors"})
    save_file({"a": torch.ones(1), "b": torch.ones(1)}, path.with_name("one.safetensors"))


def index_without_a_map(path: Path):
    index(path, ["one.safetensors"])


def truncated_index(path: Path):
    path.write_text('{"weight_map": {"a": "one.saf')


def index_nested_too_deeply(path: Path):
    path.write_text('{"a":' * 200_000)


@pytest.mark.parametrize(
    ("make", "file", "pattern"),
    [
        (truncated_safetensors, "w.safetensors", "not a complete safetensors file .*truncated"),
        (safetensors_of_five_bytes, "w.safetensors", "not a complete safetensors file"),
        (safetensors_cut_in_its_header, "w.safetensors", "not a complete safetensors file"),
        (safetensors_with_a_huge_header, "w.safetensors", "not a complete safetensors file"),
        (safetensors_with_an_absurd_shape, "w.safetensors", "not a complete safetensors file"),
        (safetensors_with_offsets_beyond_its_end, "w.safetensors", "not a complete safetensors file"),
        (safetensors_with_a_shape_that_overflows, "w.safetensors", "not a complete safetensors file"),
        (safetensors_with_an_invalid_header, "w.safetensors", "not a complete safetensors file"),
        (safetensors_with_an_empty_and_a_huge_axis, "w.safetensors", "declares a with shape .* does not fit in memory"),
        (complex_safetensors, "w.safetensors", "stores a as C64: mixlab reads floating-point"),
        (safetensors_without_tensors, "w.safetensors", "contains no tensors"),
        (pickle_named_safetensors, "w.safetensors", "named like a safetensors file but is a pickle of torch.save"),
        (
            legacy_pickle_named_safetensors,
            "w.safetensors",
            "named like a safetensors file but is a pickle of torch.save",
        ),
        (index_with_a_missing_file, INDEX, r"lists two\.safetensors, which does not exist.*Download two\.safetensors"),
        (
            index_that_points_outside_its_folder,
            INDEX,
            r"maps a to '\.\./one\.safetensors': an index may only name files of its own folder",
        ),
        (index_with_an_absolute_path, INDEX, "maps a to '/etc/passwd'"),
        (index_with_a_number_for_a_file, INDEX, "maps a to 3"),
        (index_with_a_missing_tensor, INDEX, r"disagree: b of one\.safetensors is missing from that file"),
        (index_that_omits_a_tensor, INDEX, r"disagree: b of one\.safetensors is missing from the index"),
        (index_without_a_map, INDEX, 'has no "weight_map"'),
        (truncated_index, INDEX, "is not valid JSON"),
        (index_nested_too_deeply, INDEX, "is not valid JSON"),
    ],
)
def test_bad_safetensors_files_are_refused(tmp_path, refused, make, file, pattern):
    make(tmp_path / file)
    refused(tmp_path / file, pattern)


def test_safetensors_files_that_start_with_the_first_byte_of_another_format_are_read(tmp_path):
    """The length of the header comes first: 0x50 is the P of a zip, 0x3c the < of a web page, 0x80 starts a pickle."""
    for first in b"\x50\x3c\x80":
        length = first if first >= 100 else first + 256
        text = json.dumps(described("F32", [1], 4)).encode().ljust(length)
        (tmp_path / "w").write_bytes(with_header(text, bytes(4)))
        assert list(open_weights_file(tmp_path / "w").stored) == ["a"]
