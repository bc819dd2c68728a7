"""NumPy archives that are truncated, declare wrong sizes, or contain something other than numbers."""

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest


def header(shape: str, descr: str = "'<f4'") -> bytes:
    """The header of an array in version 1 of the NumPy format."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npz(path: Path, member: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.npy", member)


def truncated_npz(path: Path):
    np.savez(path, a=np.ones(100))
    path.write_bytes(path.read_bytes()[:-50])


def npz_bomb(path: Path):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w") as file,
    ):
        file.write(header("(25000000,)"))
        for _ in range(100):
            file.write(bytes(10**6))


def npz_that_declares_a_larger_member(path: Path):
    npz(path, header("(1,)") + bytes(4))
    content = bytearray(path.read_bytes())
    central = content.rindex(b"PK\x01\x02")
    content[central + 24 : central + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)


def npz_with_an_absurd_shape(path: Path):
    npz(path, header("(1000000000000,)") + bytes(4))


def npz_with_a_shape_too_small(path: Path):
    npz(path, header("(2,)") + bytes(400))


def npz_with_a_negative_shape(path: Path):
    npz(path, header("(-1, -1)") + bytes(4))


def npz_with_an_empty_and_a_huge_axis(path: Path):
    npz(path, header(f"(0, {10**30})"))


def npz_with_code_in_its_header(path: Path):
    npz(path, header("__import__('os').getcwd()"))


def npz_with_a_member_that_is_not_an_array(path: Path):
    npz(path, b"no array")


def npz_with_a_flipped_bit(path: Path):
    npz(path, header("(1,)") + b"\x11\x22\x33\x44")
    path.write_bytes(path.read_bytes().replace(b"\x11\x22\x33\x44", b"\x11\x22\x33\x45"))


def npz_with_a_password(path: Path):
    npz(path, header("(1,)") + bytes(4))
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.rindex(signature) + flags] |= 1
    path.write_bytes(content)


def npz_of_objects(path: Path):
    np.savez(path, a=np.array([{"b": 1}], dtype=object))


def npz_of_strings(path: Path):
    np.savez(path, a=np.array(["text"]))


def npz_of_complex_numbers(path: Path):
    np.savez(path, a=np.ones(2, complex))


def npz_of_long_doubles(path: Path):
    np.savez(path, a=np.ones(2, np.longdouble))


def npz_of_records(path: Path):
    np.savez(path, a=np.ones(2, [("x", "<f4")]))


def npz_with_a_duplicate_name(path: Path):
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a.npy", header("(0,)"))
        archive.writestr("a.npy", header("(0,)"))


@pytest.mark.parametrize(
    ("make", "file", "pattern"),
    [
        (truncated_npz, "w.npz", "not a complete zip archive .* truncated"),
        (npz_bomb, "w.npz", r"unpack from .* to 1[\d,]+ bytes: weights hardly compress"),
        (npz_that_declares_a_larger_member, "w.npz", r"unpack from .* to .* bytes: weights hardly compress"),
        (
            npz_with_an_absurd_shape,
            "w.npz",
            r"declares a\.npy with shape \(1000000000000,\) and 4 bytes per number, but stores 4 bytes",
        ),
        (
            npz_with_a_shape_too_small,
            "w.npz",
            r"declares a\.npy with shape \(2,\) and 4 bytes per number, but stores 400 bytes",
        ),
        (npz_with_a_negative_shape, "w.npz", r"declares a\.npy with shape \(-1, -1\)"),
        (npz_with_an_empty_and_a_huge_axis, "w.npz", "does not fit in memory"),
        (npz_with_code_in_its_header, "w.npz", "not a complete NumPy archive .*truncated or damaged"),
        (npz_with_a_member_that_is_not_an_array, "w.npz", "not a complete NumPy archive"),
        (npz_with_a_flipped_bit, "w.npz", r"not a complete NumPy archive \(Bad CRC-32"),
        (npz_with_a_password, "w.npz", "not a complete NumPy archive .*encrypted"),
        (npz_of_objects, "w.npz", "stores a as Python objects, which can run code"),
        (npz_of_strings, "w.npz", "stores a as <U4: mixlab reads floating-point"),
        (npz_of_complex_numbers, "w.npz", "stores a as complex128: mixlab reads floating-point"),
        (npz_of_long_doubles, "w.npz", "stores a as longdouble|stores a as float128"),
        (npz_of_records, "w.npz", r"stores a as \[\('x', '<f4'\)\]: mixlab reads"),
        (npz_with_a_duplicate_name, "w.npz", "contains a twice"),
    ],
)
def test_bad_npz_files_are_refused(tmp_path, refused, make, file, pattern):
    make(tmp_path / file)
    refused(tmp_path / file, pattern)
