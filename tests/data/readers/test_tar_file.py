import bz2
import gzip
import io
import lzma
import pickle
import tarfile

import numpy as np
import pytest

from mixlab.data.image_file import UnreadableImage
from mixlab.data.sources import open_as_provided, open_dataset, open_for_evaluation
from mixlab.errors import UserError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr("mixlab.data.readers.archive.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def packed(write_tree, tmp_path):
    """Packs the folders that `write_tree` has written into an archive, inside the folder `outer`."""

    def pack(outer="pets", compress=bytes):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(tmp_path / "pets", outer)
        (tmp_path / "pets.tar").write_bytes(compress(buffer.getvalue()))
        return tmp_path / "pets.tar"

    return pack


@pytest.mark.parametrize("outer", ["pets", ".", "data/pets"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_an_archive_is_equal_to_its_folder(packed_pets, tmp_path, outer, compress):
    from_archive = open_dataset(f"tar:{packed_pets(outer, compress)}")
    from_folder = open_dataset(f"folder:{tmp_path / 'pets'}")
    assert from_archive.classes == from_folder.classes
    for name, split in from_folder.splits.items():
        assert [archive_name.split("/")[-2:] for archive_name in from_archive.splits[name].names] == [
            image_name.split("/") for image_name in split.names
        ]
        assert all((from_archive.splits[name].image(i) == split.image(i)).all() for i in range(len(split)))
    assert from_archive.notes == from_folder.notes


def test_the_splits_of_an_archive_are_used(write_tree, packed):
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        write_tree(f"{split}/cat", count)
        write_tree(f"{split}/dog", count)
    write_tree("train/loose.png")
    write_tree("annotations/cat", 2)
    (write_tree("train/cat", 1) / "readme.txt").write_text("")
    pets = open_dataset(f"tar:{packed()}")
    assert {name: len(split) for name, split in pets.splits.items()} == {"train": 8, "validation": 4, "test": 6}
    assert pets.splits["validation"].names[0] == "pets/val/cat/000.png"
    assert pets.notes == (
        "Skipped the folder annotations: it is not train, val or test.",
        "Skipped because they are not in a class folder: 1 image.",
        "Skipped because they are not images: 1 file (.txt).",
    )


def test_the_splits_of_an_archive_have_the_names_that_folders_may_have(write_tree, packed):
    for split, count in (("Training", 4), ("Testing", 3)):
        write_tree(f"{split}/cat", count)
        write_tree(f"{split}/dog", count)
    splits = open_as_provided(f"tar:{packed()}").splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 8, "test": 6}


def test_the_only_split_of_an_archive_is_not_an_outer_folder(write_tree, packed):
    write_tree("Training/images/cat", 2)
    write_tree("Training/images/dog", 2)
    assert open_as_provided(f"tar:{packed()}").classes == ("images",)


def test_two_folders_of_one_split_are_refused(write_tree, packed):
    for split in ("train", "Train", "test"):
        write_tree(f"{split}/cat", 2)
    assert error_message(packed()) == (
        "tar:pets.tar has two train splits, Train and train: rename or remove one of them."
    )


def test_the_listing_is_cached_until_the_archive_changes(packed_pets, write_tree, cache):
    before = open_dataset(f"tar:{packed_pets()}")
    listings = list(cache.rglob("*.json"))
    assert open_dataset(before.name).listing_digest == before.listing_digest
    assert list(cache.rglob("*.json")) == listings
    write_tree("cat/new.png")
    assert sum(map(len, open_dataset(f"tar:{packed_pets()}").splits.values())) == 21


def test_pickled_images_are_small(packed_pets):
    split = open_dataset(f"tar:{packed_pets()}").splits["train"]
    unpickled = pickle.loads(pickle.dumps(split))
    assert np.array_equal(unpickled.image(3), split.image(3))
    assert len(pickle.dumps(split)) < 4000


def test_an_image_in_a_truncated_archive_is_named(packed_pets):
    path = packed_pets()
    split = open_dataset(f"tar:{path}").splits["train"]
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(
        UnreadableImage, match=r"pets.tar/pets/dog/.* can't be read: its archive is truncated: byte .* is missing"
    ):
        split.image(-1)


def test_a_damaged_image_in_an_archive_is_named(write_tree, packed):
    write_tree("cat", 1)
    (write_tree("dog", 1) / "dog/000.png").write_bytes(b"a cat")
    with pytest.raises(UnreadableImage, match=r"pets.tar/pets/dog/000.png can't be read: it is not an image"):
        open_for_evaluation(f"tar:{packed()}", ("cat", "dog")).splits["test"].image(1)


def error_message(path) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(f"tar:{path}")
    return str(caught.value).replace(str(path), "pets.tar")


def test_a_missing_archive_is_refused(tmp_path):
    assert error_message(tmp_path / "missing.tar").startswith("pets.tar does not exist")


def test_a_folder_is_refused(tmp_path):
    assert error_message(tmp_path) == 'pets.tar is a folder: for the images in it, write "folder:pets.tar".'


@pytest.mark.parametrize("content", [b"PK\x03\x04" + b"0" * 600, b"", b"\x1f\x8b\x08garbage", b"\xfd7zXZ\x00garbage"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "pets.tar").write_bytes(content)
    message = error_message(tmp_path / "pets.tar")
    assert "not a tar archive or is damaged" in message or "has no images" in message


def test_a_truncated_compressed_archive_leaves_no_files_in_the_cache(packed_pets, cache):
    path = packed_pets(compress=gzip.compress)
    path.write_bytes(path.read_bytes()[:-200])
    assert "is damaged (Compressed file ended before the end-of-stream marker was reached)" in error_message(path)
    assert not [file for file in cache.rglob("*") if file.is_file()]


def test_a_compressed_file_that_is_not_an_archive_is_refused(tmp_path):
    (tmp_path / "pets.tar").write_bytes(gzip.compress(b"not an archive, " * 100))
    assert "is not a tar archive" in error_message(tmp_path / "pets.tar")


def test_an_archive_without_images_is_refused(tmp_path, packed):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets/000.cls").write_text("1")
    assert error_message(packed()) == (
        "tar:pets.tar has no images: it must contain a folder of images (.jpg, .png, .webp ...) for each class. Its "
        'samples have .cls files: write "wds:pets.tar".'
    )


def test_images_without_folders_are_refused(write_tree, packed):
    write_tree("a.png")
    write_tree("b.png")
    assert "has 2 images but no class folders" in error_message(packed("."))


def test_the_last_of_several_files_of_one_path_replaces_the_others(write_tree, tmp_path):
    """As `tar -r` and `tar -u` write changed files."""
    write_tree("cat", 2)
    pets = write_tree("dog", 2)
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(pets, "pets")
        archive.add(pets / "dog" / "000.png", "pets/cat/000.png")
    dataset = open_as_provided(f"tar:{tmp_path / 'pets.tar'}")
    split = dataset.splits["train"]
    assert split.names == [f"pets/{label}/00{index}.png" for label in ("cat", "dog") for index in (0, 1)]
    assert (split.image(0) == split.image(2)).all()


def test_a_hard_link_is_the_file_that_it_links_to(write_tree, tmp_path):
    pets = write_tree("cat", 1)
    (pets / "dog").mkdir()
    (pets / "dog" / "linked.png").hardlink_to(pets / "cat" / "000.png")
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(pets, "pets")
        assert any(member.islnk() for member in archive.getmembers())
    split = open_as_provided(f"tar:{tmp_path / 'pets.tar'}").splits["train"]
    assert split.names == ["pets/cat/000.png", "pets/dog/linked.png"]
    assert (split.image(0) == split.image(1)).all()
