"""The record of the images that weights have learned from."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.data.dataset import Dataset, content_digest
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.evaluation import training_images as module
from mixlab.evaluation.training_images import (
    TrainingImages,
    digest_key,
    digests_of,
    read_training_images,
    record_training_images,
    training_images_of,
    union,
)


@pytest.fixture
def record(shades: Dataset) -> TrainingImages:
    return record_training_images(shades, quiet=True)


def test_training_and_validation_images_are_recorded_and_test_images_are_not(record, shades):
    digests = {name: digests_of(split, quiet=True) for name, split in shades.splits.items()}
    assert record.trained.tolist() == sorted(digests["train"].tolist())
    assert record.selected.tolist() == sorted(digests["validation"].tolist())
    assert record.hashes is not None and len(record.hashes) == 52
    assert [record.contains(digests[name]).all() for name in ("train", "validation")] == [True, True]
    assert not record.contains(digests["test"]).any()


def test_the_shares_of_several_processes_are_the_whole_record(record, shades):
    shares = [record_training_images(shades, (rank, 3), quiet=True) for rank in range(3)]
    assert [len(share.trained) for share in shares] == [14, 13, 13]
    whole = union(shares)
    assert np.array_equal(whole.trained, record.trained) and np.array_equal(whole.selected, record.selected)
    assert whole.hashes is not None and record.hashes is not None and whole.hashes.keys() == record.hashes.keys()


def test_a_written_record_is_read_unchanged(record, tmp_path):
    (record | TrainingImages(unknown=("mixer_b16.goog_in21k",))).write(tmp_path / "record")
    read = read_training_images(tmp_path / "record")
    assert np.array_equal(read.trained, record.trained) and np.array_equal(read.selected, record.selected)
    assert read.unknown == ("mixer_b16.goog_in21k",)
    assert record.hashes is not None and read.hashes is not None
    for digest, hash in record.hashes.items():
        bits, read_bits = hash.bits, read.hashes[digest].bits
        assert bits is not None and read_bits is not None and np.array_equal(read_bits, bits)
        assert np.array_equal(read.hashes[digest].thumbnail, hash.thumbnail)
        assert read.hashes[digest].min_correlation == hash.min_correlation


def test_a_large_training_has_no_hashes_and_neither_has_its_union(record, shades, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "MAX_HASHED", 51)
    large = record_training_images(shades, quiet=True)
    assert large.hashes is None and np.array_equal(large.trained, record.trained)
    large.write(tmp_path / "record")
    assert read_training_images(tmp_path / "record").hashes is None
    assert (large | record).hashes is None


def test_files_that_cannot_be_read_are_not_recorded(pets: Path):
    (pets / "cat" / "00.png").write_bytes(b"")
    dataset = open_dataset(f"folder:{pets}")
    train = dataset.splits["train"]
    record = record_training_images(dataset, quiet=True)
    recorded = {*record.trained.tolist(), *record.selected.tolist()}
    assert len(recorded) in (31, 32)  # 40 images, of which a fifth is test
    assert digest_key(content_digest(pets / "cat" / "00.png")) not in recorded
    assert digest_key(content_digest(train.images[-1])) in recorded


def test_blank_images_are_recorded_without_a_hash(tmp_path):
    for label in "ab":
        (tmp_path / "blank" / label).mkdir(parents=True)
        for number in range(5):
            shade = (number + 5 * (label == "a"), 0, 0)
            Image.new("RGB", (20, 20), shade).save(tmp_path / "blank" / label / f"{number}.png")
    record = record_training_images(open_dataset(f"folder:{tmp_path / 'blank'}"), quiet=True)
    record.write(tmp_path / "record")
    read = read_training_images(tmp_path / "record")
    assert len(read.trained) + len(read.selected) == 8
    assert read.hashes == {}


def test_a_damaged_record_is_an_error(record, tmp_path):
    record.write(tmp_path / "record")
    (tmp_path / "record").write_bytes((tmp_path / "record").read_bytes()[:-10])
    with pytest.raises(UserError, match=r"record is damaged \(.*\): copy the whole folder again\."):
        read_training_images(tmp_path / "record")


def test_weights_without_a_record_are_unknown(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    source = tmp_path / "model.safetensors"
    record = training_images_of(source)
    assert (len(record.trained), len(record.selected), record.unknown) == (0, 0, (str(source),))


def test_the_record_belongs_to_the_weights_of_its_folder_only(record, tmp_path):
    record.write(tmp_path / "training_images.safetensors")
    for name in ("model.safetensors", "other.safetensors"):
        (tmp_path / name).write_bytes(b"")
    assert len(training_images_of(tmp_path / "model.safetensors").trained) == 40
    assert training_images_of(tmp_path / "other.safetensors").unknown == (str(tmp_path / "other.safetensors"),)
