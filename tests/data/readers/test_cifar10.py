import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.data.readers import cifar10
from mixlab.data.readers.cifar10 import CLASSES
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError

SPLITS = {"train": 200, "test": 20}
"""A tiny CIFAR-10: twenty training and two test images per class."""


@pytest.fixture(autouse=True)
def tiny_cifar10(tmp_path, monkeypatch) -> None:
    """Hide any CIFAR-10 on this machine, and accept a tiny one as complete."""
    monkeypatch.setattr(cifar10, "_COUNTS", SPLITS)
    for module in ("cifar10", "data_dirs"):
        monkeypatch.setattr(f"mixlab.data.readers.{module}.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("MIXLAB_DATA", raising=False)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (220, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def binary(tmp_path, images) -> Path:
    """The original files: five training batches and one test batch, each with red, green and blue planes."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    planes = images.transpose(0, 3, 1, 2).reshape(220, 3072)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for name, start, stop in zip(names, range(0, 201, 40), [40, 80, 120, 160, 200, 220], strict=True):
        indices = range(start, stop)
        batch = {
            b"data": planes[start:stop],
            b"labels": [index % 10 for index in indices],
            b"filenames": [f"{index:04d}.png".encode() for index in indices],
        }
        (folder / name).write_bytes(pickle.dumps(batch))
    return folder


@pytest.fixture
def folders(tmp_path, images) -> Path:
    folder = tmp_path / "data"
    for index, image in enumerate(images):
        path = folder / ("train" if index < 200 else "test") / CLASSES[index % 10] / f"{index:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


@pytest.fixture
def archive(tmp_path, folders) -> Path:
    path = tmp_path / "packed" / "cifar10-jpeg.tar.xz"
    path.parent.mkdir()
    with tarfile.open(path, "w:xz") as packed:
        for split in SPLITS:
            packed.add(folders / split, split)
    return path


def test_the_binary_files_are_read(binary, images):
    data = open_dataset(f"cifar10:{binary.parent}")
    assert data.classes == CLASSES
    test = data.splits["test"]
    sorted_by_class = [200 + label + step for label in range(10) for step in (0, 10)]
    assert (np.stack([test.image(index) for index in range(20)]) == images[sorted_by_class]).all()
    assert test.labels.tolist() == sorted([*range(10), *range(10)])
    assert test.names[3] == "test/automobile/0211.png"


def test_the_order_within_the_binary_files_makes_no_difference(binary):
    ordered = open_dataset(f"cifar10:{binary.parent}")
    files = sorted(binary.iterdir())
    batches = [pickle.loads(file.read_bytes()) for file in files]
    for file, batch in zip(files, [*batches[1:5], batches[0], batches[5]], strict=True):
        file.write_bytes(pickle.dumps({key: values[::-1] for key, values in batch.items()}))
    assert open_dataset(f"cifar10:{binary.parent}").fingerprint == ordered.fingerprint


def test_validation_is_a_tenth_of_each_class_of_train(binary):
    data = open_dataset(f"cifar10:{binary.parent}")
    assert {name: np.bincount(split.labels).tolist() for name, split in data.splits.items()} == {
        "train": [18] * 10,
        "validation": [2] * 10,
        "test": [2] * 10,
    }


def test_folders_and_archive_have_the_same_images(folders, archive):
    from_folders, from_archive = open_dataset(f"cifar10:{folders}"), open_dataset(f"cifar10:{archive.parent}")
    assert from_folders.fingerprint == from_archive.fingerprint
    assert from_folders.splits["test"].names[0] == "test/airplane/0200.jpg"
    assert "JPEG copies" in from_folders.notes[0]


def test_jpeg_folders_are_decoded_as_in_pillow(folders):
    test = open_dataset(f"cifar10:{folders}").splits["test"]
    for index in range(len(test)):
        with Image.open(folders / test.names[index]) as expected:
            assert (test.image(index) == np.array(expected)).all()
        assert test.names[index].split("/")[1] == CLASSES[test.labels[index]]


@pytest.mark.parametrize("source_fixture", ["folders", "archive"])
def test_decoded_images_are_cached(source_fixture, request, monkeypatch):
    source = request.getfixturevalue(source_fixture)
    first = open_dataset(f"cifar10:{source}")
    monkeypatch.setattr(cifar10, "read_image", None)
    assert open_dataset(f"cifar10:{source}").fingerprint == first.fingerprint


def test_changed_folders_are_decoded_again(folders):
    before = open_dataset(f"cifar10:{folders}")
    Image.new("RGB", (32, 32)).save(folders / "train/cat/0003.jpg")
    assert open_dataset(f"cifar10:{folders}").fingerprint != before.fingerprint


def test_the_environment_variable_and_then_the_cache_are_searched(tmp_path, binary, monkeypatch):
    with pytest.raises(UserError):
        open_dataset("cifar10")
    (tmp_path / "cache").mkdir()
    moved = binary.rename(tmp_path / "cache" / "cifar-10-batches-py")
    assert len(open_dataset("cifar10").splits["test"]) == 20
    monkeypatch.setenv("MIXLAB_DATA", str(tmp_path / "mine"))
    (tmp_path / "mine" / "cifar10").mkdir(parents=True)
    moved.rename(tmp_path / "mine" / "cifar10" / "cifar-10-batches-py")
    assert len(open_dataset("cifar10").splits["test"]) == 20


def test_a_missing_dataset_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXLAB_DATA", "/data")
    with pytest.raises(UserError) as caught:
        open_dataset("cifar10")
    assert str(caught.value) == (
        f"cifar10 is not in /data or {tmp_path}/cache: put cifar-10-batches-py/ (unpacked from cifar-10-python.tar.gz) "
        "or cifar10-jpeg.tar.xz there, or give the folder that contains it as cifar10:PATH or in $MIXLAB_DATA."
    )


def test_a_given_path_is_the_only_one_searched(binary, monkeypatch):
    monkeypatch.setenv("MIXLAB_DATA", str(binary.parent))
    with pytest.raises(UserError, match=r"^cifar10:/missing is not in /missing: put"):
        open_dataset("cifar10:/missing")


def test_incomplete_folders_are_refused(folders):
    (folders / "train/cat/0003.jpg").unlink()
    with pytest.raises(UserError, match="has 199 of the 200 train images: copy or unpack it again"):
        open_dataset(f"cifar10:{folders}")


def test_a_truncated_archive_is_refused(archive):
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"cifar10-jpeg.tar.xz is damaged or truncated \(.*\): copy it again"):
        open_dataset(f"cifar10:{archive}")


def test_a_truncated_batch_is_refused(binary):
    path = binary / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"data_batch_3 is not a CIFAR-10 batch \(.*\): unpack"):
        open_dataset(f"cifar10:{binary}")


def test_a_pickle_cannot_run_code(binary):
    class Attack:
        def __reduce__(self):
            return print, ("attacked",)

    (binary / "data_batch_1").write_bytes(pickle.dumps({b"data": Attack(), b"labels": []}))
    with pytest.raises(UserError, match=r"it refers to builtins.print"):
        open_dataset(f"cifar10:{binary}")


def test_pickles_of_python_2_are_read():
    # Protocol 2 with byte strings, as in the published files: an array of two bytes.
    content = (
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x02\x07\x08tbs."
    )
    batch = cifar10._ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    assert batch[b"data"].tolist() == [7, 8]


@pytest.mark.long
def test_the_complete_archive_is_read(shared_data, monkeypatch):
    monkeypatch.setattr(cifar10, "_COUNTS", {"train": 50_000, "test": 10_000})
    monkeypatch.setenv("MIXLAB_DATA", str(shared_data))
    data = open_dataset("cifar10", quiet=True)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 45000,
        "validation": 5000,
        "test": 10000,
    }
    assert np.bincount(data.splits["test"].labels).tolist() == [1000] * 10
