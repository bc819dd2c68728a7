"""Files that are not weights are refused with a sentence that says what they are."""

import gzip
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save


def empty(path: Path):
    path.write_bytes(b"")


def missing(path: Path):
    pass


def error_page(path: Path):
    path.write_text("\n<!DOCTYPE html><html><body>404 Not Found</body></html>")


def error_in_xml(path: Path):
    path.write_text("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>")


def lfs_pointer(path: Path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")


def plain_text(path: Path):
    path.write_text("Repository not found, or you are not logged in.")


def single_array(path: Path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def tar(path: Path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("w.pth"))


def gzipped(path: Path):
    path.write_bytes(gzip.compress(save({"a": torch.ones(1)})))


def keras(path: Path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))


def random_bytes(path: Path):
    path.write_bytes(bytes(range(200, 256)) * 9)


def zip_without_weights(path: Path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights")


@pytest.mark.parametrize(
    ("make", "file", "pattern"),
    [
        (empty, "w.pth", "w.pth is empty"),
        (missing, "w.pth", r"can't be read \(No such file or directory\)"),
        (error_page, "w.npz", "is a web page, probably an error page"),
        (error_in_xml, "w.safetensors", "is a web page, probably an error page"),
        (lfs_pointer, "w.bin", "is a Git LFS pointer, not the weights: run `git lfs pull`"),
        (plain_text, "w.pth", "is text, not weights"),
        (single_array, "w.npz", "is a single NumPy array: give the .npz"),
        (tar, "w.pth.tar", "a tar archive: unpack it first"),
        (gzipped, "w.gz", "is compressed with gzip: unpack it first"),
        (keras, "w.h5", "is an HDF5 file of Keras or TensorFlow"),
        (random_bytes, "w.pth", "is not a supported weights file"),
        (zip_without_weights, "w.zip", "is a zip archive, but neither .npz nor of torch.save"),
    ],
)
def test_files_of_other_types_are_refused_with_their_type(tmp_path, refused, make, file, pattern):
    make(tmp_path / file)
    refused(tmp_path / file, pattern)
