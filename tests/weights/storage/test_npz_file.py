"""Numpy's archives that are cut off, lie about their sizes, or hold what is no number."""

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest


def header(shape: str, descr: str = "'<f4'") -> bytes:
    """Of an array in version 1 of numpy's format."""
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


def npz_that_declares_more_than_it_can_hold(path: Path):
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


def npz_with_an_empty_axis_beside_a_vast_one(path: Path):
    npz(path, header(f"(0, {10**30})"))


def npz_with_a_header_that_is_code(path: Path):
    npz(path, header("__import__('os').getcwd()"))


def npz_of_a_member_that_is_no_array(path: Path):
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


def npz_of_texts(path: Path):
    np.savez(path, a=np.array(["text"]))


def npz_of_complex_numbers(path: Path):
    np.savez(path, a=np.ones(2, complex))


def npz_of_long_doubles(path: Path):
    np.savez(path, a=np.ones(2, np.longdouble))


def npz_of_records(path: Path):
    np.savez(path, a=np.ones(2, [("x", "<f4")]))


def npz_with_a_name_twice(path: Path):
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a.npy", header("(0,)"))
        archive.writestr("a.npy", header("(0,)"))


@pytest.mark.parametrize(
    ("make", "file", "words"),
    [
        (truncated_npz, "w.npz", "no whole zip, .* cut off"),
        (npz_bomb, "w.npz", r"unfold from .* to 1[\d,]+ bytes: weights hardly compress"),
        (npz_that_declares_more_than_it_can_hold, "w.npz", r"unfold from .* to .* bytes: weights hardly compress"),
        (
            npz_with_an_absurd_shape,
            "w.npz",
            r"declares a\.npy as \(1000000000000,\) numbers of 4 bytes, which are not the 4 bytes",
        ),
        (
            npz_with_a_shape_too_small,
            "w.npz",
            r"declares a\.npy as \(2,\) numbers of 4 bytes, which are not the 400 bytes",
        ),
        (npz_with_a_negative_shape, "w.npz", r"declares a\.npy as \(-1, -1\) numbers"),
        (npz_with_an_empty_axis_beside_a_vast_one, "w.npz", "fit no memory"),
        (npz_with_a_header_that_is_code, "w.npz", "no whole numpy archive .*cut off or damaged"),
        (npz_of_a_member_that_is_no_array, "w.npz", "no whole numpy archive"),
        (npz_with_a_flipped_bit, "w.npz", r"no whole numpy archive \(Bad CRC-32"),
        (npz_with_a_password, "w.npz", "no whole numpy archive .*encrypted"),
        (npz_of_objects, "w.npz", "holds a as Python objects, which could run code"),
        (npz_of_texts, "w.npz", "holds a as <U4: mixlab reads floating-point"),
        (npz_of_complex_numbers, "w.npz", "holds a as complex128: mixlab reads floating-point"),
        (npz_of_long_doubles, "w.npz", "holds a as longdouble|holds a as float128"),
        (npz_of_records, "w.npz", r"holds a as \[\('x', '<f4'\)\]: mixlab reads"),
        (npz_with_a_name_twice, "w.npz", "holds a twice"),
    ],
)
def test_an_npz_that_is_no_good_is_said_to_be(tmp_path, refused, make, file, words):
    make(tmp_path / file)
    refused(tmp_path / file, words)
