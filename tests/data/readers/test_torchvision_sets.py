"""Tiny datasets in torchvision's layout, with a fake network."""

import json
import pickle
import shutil
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from mixlab.data.readers.torchvision_sets import SETS
from mixlab.data.sources import KINDS, open_dataset, open_for_evaluation
from mixlab.errors import UserError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    for module in ("data_dirs", "torchvision_sets"):
        monkeypatch.setattr(f"mixlab.data.readers.{module}.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("MIXLAB_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def food(write_tree):
    for number in range(12):
        write_tree(f"food-101/images/pizza/{number}.jpg", root="food")
        write_tree(f"food-101/images/apple_pie/{number}.jpg", root="food")
    root = write_tree("food-101/license.txt", root="food")
    (root / "food-101/meta").mkdir()
    for split, numbers in (("train", range(10)), ("test", range(10, 12))):
        listing = {label: [f"{label}/{number}" for number in numbers] for label in ("apple_pie", "pizza")}
        (root / f"food-101/meta/{split}.json").write_text(json.dumps(listing))
    return root


@pytest.fixture
def textures(write_tree):
    root = write_tree("dtd/dtd/images/banded/0.jpg", root="textures")
    (root / "dtd/dtd/labels").mkdir()
    for number, split in enumerate(("train", "val", "test")):
        for label in ("banded", "dotted"):
            write_tree(f"dtd/dtd/images/{label}/{number}.jpg", root="textures")
        (root / f"dtd/dtd/labels/{split}1.txt").write_text(f"banded/{number}.jpg\ndotted/{number}.jpg\n")
    return root


@pytest.fixture
def pets(write_tree):
    root = write_tree("oxford-iiit-pet/images/Abyssinian_0.jpg", root="pets")
    (root / "oxford-iiit-pet/annotations").mkdir()
    for split, numbers in (("trainval", range(6)), ("test", range(6, 8))):
        lines = []
        for label, breed in enumerate(("Abyssinian", "great_pyrenees"), 1):
            for number in numbers:
                write_tree(f"oxford-iiit-pet/images/{breed}_{number}.jpg", root="pets")
                lines.append(f"{breed}_{number} {label} 1 1\n")
        (root / f"oxford-iiit-pet/annotations/{split}.txt").write_text("".join(lines))
    return root


@pytest.fixture
def clothes(tmp_path):
    """Ten classes of grey images in the format of MNIST: http://yann.lecun.com/exdb/mnist."""
    raw = tmp_path / "clothes/FashionMNIST/raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, count in (("train", 30), ("t10k", 10)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            (raw / f"{split}-{kind}-ubyte").write_bytes(header + array.tobytes())
    return tmp_path / "clothes"


def sizes(dataset):
    return {name: len(split) for name, split in dataset.splits.items()}


def test_a_dataset_of_files_is_read_in_place(food):
    dishes = open_dataset(f"food101:{food}")
    assert dishes.name == f"food101:{food}"
    assert dishes.classes == ("apple_pie", "pizza")
    assert sizes(dishes) == {"train": 18, "validation": 2, "test": 4}
    assert dishes.splits["test"].names[0] == "food-101/images/apple_pie/10.jpg"
    assert isinstance(dishes.splits["test"].images[0], Path)
    assert dishes.splits["test"].image(0).shape == (4, 4, 3)


def test_three_splits_are_used_unchanged(textures):
    dataset = open_dataset(f"dtd:{textures}")
    assert sizes(dataset) == {"train": 2, "validation": 2, "test": 2}
    assert not dataset.split_by_mixlab


def test_a_dataset_without_loader_argument_is_not_decoded(pets):
    dataset = open_dataset(f"pets:{pets}")
    assert dataset.classes == ("Abyssinian", "Great Pyrenees")
    assert sizes(dataset) == {"train": 10, "validation": 2, "test": 4}
    assert dataset.splits["test"].names[0] == "oxford-iiit-pet/images/Abyssinian_6.jpg"


def test_a_dataset_of_arrays_is_in_memory(clothes):
    dataset = open_dataset(f"fashion_mnist:{clothes}")
    assert dataset.classes[:2] == ("T-shirt/top", "Trouser")
    assert sizes(dataset) == {"train": 20, "validation": 10, "test": 10}
    assert dataset.splits["test"].names[3] == "test/00003"
    assert dataset.splits["test"].image(3).shape == (28, 28, 3)
    assert dataset.splits["test"].labels.tolist() == list(range(10))


def test_cifar100_has_the_hundred_fine_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    random = np.random.default_rng(0)
    for split, count in (("train", 300), ("test", 100)):
        images = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        content = {"data": images, "fine_labels": [i % 100 for i in range(count)]}
        (folder / split).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class {i:02d}" for i in range(100)]}))
    dataset = open_dataset(f"cifar100:{tmp_path}")
    assert len(dataset.classes) == 100
    assert sizes(dataset) == {"train": 200, "validation": 100, "test": 100}


@pytest.mark.parametrize("subfolder", ["", "food101"])
def test_the_data_folder_is_searched(food, tmp_path, monkeypatch, subfolder):
    (tmp_path / "data").mkdir()
    food.rename(tmp_path / "data" / subfolder) if subfolder else shutil.copytree(
        food, tmp_path / "data", dirs_exist_ok=True
    )
    monkeypatch.setenv("MIXLAB_DATA", str(tmp_path / "data"))
    dishes = open_dataset("food101")
    assert dishes.name == "food101"
    assert dishes.splits["test"].names[0] == "food-101/images/apple_pie/10.jpg"


def test_a_missing_dataset_is_downloaded_once(food, cache, monkeypatch):
    urls = []

    def fake_download(url, download_root, md5):
        urls.append(url)
        shutil.copytree(food, download_root, dirs_exist_ok=True)

    monkeypatch.setattr("torchvision.datasets.food101.download_and_extract_archive", fake_download)
    assert sizes(open_dataset("food101")) == sizes(open_dataset("food101"))
    assert len(urls) == 1
    assert (cache / "food101/food-101/meta").is_dir()


def test_evaluation_uses_the_test_split(food):
    assert len(open_for_evaluation(f"food101:{food}", ("pizza", "apple_pie")).splits["test"]) == 4


def test_every_dataset_is_a_class_of_torchvision():
    import torchvision

    for name, settings in SETS.items():
        assert hasattr(torchvision.datasets, settings.type)
        assert KINDS[name].spelling == f"{name}[:PATH]"


def error_message(name):
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    return str(caught.value)


def test_a_failed_download_leaves_no_files_and_is_explained(cache, monkeypatch):
    def fake_download(url, download_root, md5):
        (Path(download_root) / "half").write_bytes(b"0")
        raise URLError("no route")

    monkeypatch.setattr("torchvision.datasets.food101.download_and_extract_archive", fake_download)
    assert error_message("food101") == (
        f"food101 is not in {cache}, and torchvision can't download it (<urlopen error no route>): download it by "
        "hand, arrange it in torchvision's layout, and give its folder as food101:PATH."
    )
    assert not cache.exists()


def test_a_dataset_without_download_is_refused(cache):
    assert "torchvision can't download it (The original URL is broken" in error_message("cars")


def test_a_folder_without_the_dataset_is_refused(tmp_path):
    assert error_message(f"food101:{tmp_path}") == (
        f"food101:{tmp_path} does not contain a complete Food101 in torchvision's layout: give the root folder of "
        'torchvision, or write "food101" to download it.'
    )


def test_a_folder_with_the_name_of_a_dataset_is_ambiguous(tmp_path, monkeypatch):
    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path)
    assert error_message("pets") == (
        '"pets" is ambiguous: it is a dataset of torchvision, not downloaded yet, and a folder in the working '
        'directory. Write "folder:pets" for the images in the folder, or "pets:pets" if it contains the dataset.'
    )


def test_an_incomplete_dataset_is_refused(food):
    (food / "food-101/meta/test.json").unlink()
    assert "does not contain a complete Food101" in error_message(f"food101:{food}")
