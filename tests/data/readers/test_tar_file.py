import bz2
import gzip
import io
import lzma
import pickle
import tarfile

import numpy as np
import pytest

from mixlab.data.image_file import UnreadableImage
from mixlab.data.sources import open_dataset, open_for_evaluation
from mixlab.errors import UserError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr("mixlab.data.readers.archive.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def packed(write_tree, tmp_path):
    """Packs the folders of cats and dogs that `write_tree` writes, below `outer`."""

    def pack(outer="pets", compress=bytes):
        packing = io.BytesIO()
        with tarfile.open(fileobj=packing, mode="w") as archive:
            archive.add(tmp_path / "pets", outer)
        (tmp_path / "pets.tar").write_bytes(compress(packing.getvalue()))
        return tmp_path / "pets.tar"

    return pack


@pytest.fixture
def pets(write_tree, packed):
    write_tree("cat", 10)
    write_tree("dog", 10)
    return packed


@pytest.mark.parametrize("outer", ["pets", ".", "data/pets"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_an_archive_of_a_folder_is_that_folder(pets, tmp_path, outer, compress):
    inside = open_dataset(f"tar:{pets(outer, compress)}")
    outside = open_dataset(f"folder:{tmp_path / 'pets'}")
    assert inside.classes == outside.classes
    for name, split in outside.splits.items():
        assert [one.split("/")[-2:] for one in inside.splits[name].names] == [one.split("/") for one in split.names]
        assert all((inside.splits[name].image(i) == split.image(i)).all() for i in range(len(split)))
    assert inside.notes == outside.notes


def test_parts_inside_are_taken_as_they_are(write_tree, packed):
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
        "The folder annotations is none of train, val and test and was left out.",
        "Left out because they lie in no class's folder: 1 image.",
        "Left out because they are no images by their names: 1 (.txt).",
    )


def test_an_archive_is_listed_once_and_again_when_it_changes(pets, write_tree, cache):
    before = open_dataset(f"tar:{pets()}")
    listings = list(cache.rglob("*.json"))
    assert open_dataset(before.name).listing_digest == before.listing_digest
    assert list(cache.rglob("*.json")) == listings
    write_tree("cat/new.png")
    assert sum(map(len, open_dataset(f"tar:{pets()}").splits.values())) == 21


def test_a_image_goes_to_another_process_as_its_place(pets):
    split = open_dataset(f"tar:{pets()}").splits["train"]
    again = pickle.loads(pickle.dumps(split))
    assert np.array_equal(again.image(3), split.image(3))
    assert len(pickle.dumps(split)) < 4000


def test_an_archive_that_is_cut_short_later_names_the_image(pets):
    path = pets()
    split = open_dataset(f"tar:{path}").splits["train"]
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UnreadableImage, match=r"pets.tar/pets/dog/.* can't be read: its archive ends before it"):
        split.image(-1)


def test_damaged_bytes_in_an_archive_name_the_image(write_tree, packed):
    write_tree("cat", 1)
    (write_tree("dog", 1) / "dog/000.png").write_bytes(b"a cat")
    with pytest.raises(UnreadableImage, match=r"pets.tar/pets/dog/000.png can't be read: its content is no image"):
        open_for_evaluation(f"tar:{packed()}", ("cat", "dog")).splits["test"].image(1)


def refused(path) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(f"tar:{path}")
    return str(caught.value).replace(str(path), "pets.tar")


def test_a_missing_archive_is_refused(tmp_path):
    assert refused(tmp_path / "gone.tar").startswith("pets.tar is not there")


def test_a_folder_is_refused(tmp_path):
    assert refused(tmp_path) == 'pets.tar is a folder: for the images in it write "folder:pets.tar".'


@pytest.mark.parametrize("content", [b"PK\x03\x04" + b"0" * 600, b"", b"\x1f\x8b\x08garbage", b"\xfd7zXZ\x00garbage"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "pets.tar").write_bytes(content)
    said = refused(tmp_path / "pets.tar")
    assert "no tar archive, or is damaged" in said or "holds no images" in said


def test_a_compressed_archive_that_is_cut_short_leaves_nothing_in_the_cache(pets, cache):
    path = pets(compress=gzip.compress)
    path.write_bytes(path.read_bytes()[:-200])
    assert "is damaged (Compressed file ended before the end-of-stream marker was reached)" in refused(path)
    assert not [file for file in cache.rglob("*") if file.is_file()]


def test_what_was_packed_twice_is_no_archive(tmp_path):
    (tmp_path / "pets.tar").write_bytes(gzip.compress(b"no archive, " * 100))
    assert "is no tar archive" in refused(tmp_path / "pets.tar")


def test_an_archive_without_images_is_refused(tmp_path, packed):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets/000.cls").write_text("1")
    assert refused(packed()) == (
        "tar:pets.tar holds no images: it takes a folder of them for each class (.jpg, .png, .webp ...). Its samples "
        'are labelled by .cls files: write "wds:pets.tar".'
    )


def test_images_without_folders_are_refused(write_tree, packed):
    write_tree("a.png")
    write_tree("b.png")
    assert "holds 2 images but no folders of them" in refused(packed("."))
