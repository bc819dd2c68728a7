import io
import pickle
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mixlab.data.image_file import UnreadableImage
from mixlab.data.sources import open_as_provided, open_dataset
from mixlab.errors import UserError


@pytest.fixture
def packed(write_tree, tmp_path):
    """Packs the folders that `write_tree` has written into an archive, inside the folder `outer`."""

    def pack(outer="pets", compression=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "pets.zip", "w", compression) as archive:
            for file in sorted((tmp_path / "pets").rglob("*")):
                archive.write(file, f"{outer}/{file.relative_to(tmp_path / 'pets').as_posix()}")
        return tmp_path / "pets.zip"

    return pack


def error_message(path) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(f"zip:{path}")
    return str(caught.value).replace(str(path), "pets.zip")


@pytest.mark.parametrize("outer", ["pets", ".", "data/pets"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_is_equal_to_its_folder(packed_pets, tmp_path, outer, compression):
    from_archive = open_dataset(f"zip:{packed_pets(outer, compression)}")
    from_folder = open_dataset(f"folder:{tmp_path / 'pets'}")
    assert from_archive.classes == from_folder.classes
    for name, split in from_folder.splits.items():
        assert len(from_archive.splits[name]) == len(split) > 0
        assert all((from_archive.splits[name].image(i) == split.image(i)).all() for i in range(len(split)))
    assert from_archive.notes == from_folder.notes


def test_the_splits_of_an_archive_are_used_and_the_files_of_macos_ignored(write_tree, packed):
    for split, count in (("Training", 4), ("Testing", 3)):
        write_tree(f"{split}/cat", count)
        write_tree(f"{split}/dog", count)
    path = packed()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/pets/Training/cat/._000.png", b"")
        archive.writestr("pets/.DS_Store", b"")
    splits = open_as_provided(f"zip:{path}").splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 8, "test": 6}


def test_threads_and_pickled_copies_read_the_same_images(packed_pets):
    split = open_dataset(f"zip:{packed_pets()}").splits["train"]
    copy = pickle.loads(pickle.dumps(split))
    with ThreadPoolExecutor(8) as threads:
        images = list(threads.map(split.image, list(range(len(split))) * 8))
    assert all(np.array_equal(image, copy.image(i % len(split))) for i, image in enumerate(images))


@pytest.mark.parametrize(("encoding", "class_name"), [("utf-8", "kätz"), ("cp437", "kätz!")])
def test_without_a_flag_names_are_utf_8_or_code_page_437(packed_pets, tmp_path, encoding, class_name):
    path = packed_pets()
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(2):
            archive.write(tmp_path / "pets/cat/000.png", f"pets/XXXXX/{number}.png")
    name = "kätz".encode(encoding).ljust(5, b"!")
    path.write_bytes(path.read_bytes().replace(b"XXXXX", name))
    assert open_as_provided(f"zip:{path}").classes[-1] == class_name


def test_names_with_the_flag_of_utf_8(packed_pets, tmp_path):
    path = packed_pets()
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(tmp_path / "pets/cat/000.png", "pets/猫/0.png")
    assert "猫" in open_as_provided(f"zip:{path}").classes


def test_a_damaged_image_is_named(packed_pets):
    path = packed_pets("pets", zipfile.ZIP_STORED)
    split = open_dataset(f"zip:{path}").splits["train"]
    path.write_bytes(path.read_bytes().replace(b"IDAT", b"IDAX"))
    with pytest.raises(UnreadableImage, match=r"pets.zip/pets/cat/.* can't be read: its archive is damaged"):
        split.image(0)


def test_a_truncated_archive_is_named(packed_pets):
    path = packed_pets()
    split = open_dataset(f"zip:{path}").splits["train"]
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(UnreadableImage, match=r"can't be read: its archive is damaged"):
        split.image(0)


def test_an_encrypted_archive_is_refused(packed_pets):
    path = packed_pets()
    content = bytearray(path.read_bytes())
    place = content.find(b"PK\x01\x02")
    while place >= 0:  # sets the bit in every entry of the central directory
        (flags,) = struct.unpack_from("<H", content, place + 8)
        struct.pack_into("<H", content, place + 8, flags | 1)
        place = content.find(b"PK\x01\x02", place + 1)
    path.write_bytes(content)
    assert error_message(path) == "pets.zip is encrypted: unpack it with its password, and give the folder."


def test_another_compression_is_refused(packed_pets):
    sentence = error_message(packed_pets("pets", zipfile.ZIP_LZMA))
    assert "in a compression that mixlab does not read (method 14): unpack it, and give the folder" in sentence


def test_other_paths_are_refused(tmp_path):
    assert error_message(tmp_path / "missing.zip").startswith("pets.zip does not exist")
    assert error_message(tmp_path) == 'pets.zip is a folder: for the images in it, write "folder:pets.zip".'
    (tmp_path / "pets.zip").write_bytes(b"not an archive")
    assert "pets.zip is not a zip archive or is damaged (File is not a zip file)" in error_message(
        tmp_path / "pets.zip"
    )


def test_an_archive_without_images_is_refused(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("readme.txt", "")
    (tmp_path / "pets.zip").write_bytes(content.getvalue())
    assert error_message(tmp_path / "pets.zip").startswith("zip:pets.zip has no images: it must contain a folder")
