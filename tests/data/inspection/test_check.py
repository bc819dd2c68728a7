"""Checks of a dataset."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.data.dataset import Dataset, Split
from mixlab.data.image_file import DeepValues, image_kinds
from mixlab.data.inspection import check as check_module
from mixlab.data.inspection.check import Check, check_images
from mixlab.data.sources import open_as_provided
from mixlab.errors import UserError


def image(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (7, 6, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((48, 40), Image.Resampling.BICUBIC)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Different images: three cats and two dogs in train, a cat and a dog in test."""
    paths = ("train/cat/a", "train/cat/b", "train/cat/c", "train/dog/a", "train/dog/b", "test/cat/a", "test/dog/a")
    for seed, path in enumerate(paths):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        image(seed).save(tmp_path / f"{path}.png")
    return tmp_path


def run_check(folder: Path, workers: int = 1) -> Check:
    return check_images(open_as_provided(f"folder:{folder}"), workers=workers, quiet=True)


def group_names(check: Check) -> list[tuple[bool, list[str]]]:
    return [(group.exact, [member.name for member in group.members]) for group in check.groups]


def test_a_valid_dataset_has_no_findings(pets):
    check = run_check(pets)
    assert (check.groups, check.unreadable, check.blank, check.kinds.total()) == ([], [], [], 0)
    assert check.counts("train") == {"cat": 3, "dog": 2}
    assert check.counts("test") == {"cat": 1, "dog": 1}
    assert check.sizes.tolist() == [[40, 48]] * 7


def test_the_splits_of_the_source_are_kept(pets):
    assert list(run_check(pets).dataset.splits) == ["train", "test"]


def test_unreadable_images_are_listed_with_reasons(pets):
    (pets / "train/cat/empty.png").write_bytes(b"")
    (pets / "train/dog/words.jpg").write_text("not an image")
    whole = (pets / "test/dog/a.png").read_bytes()
    (pets / "test/dog/short.png").write_bytes(whole[: len(whole) // 2])
    (pets / "test/dog/missing.png").symlink_to("missing_target")
    reasons = {member.name: reason for member, reason in run_check(pets).unreadable}
    assert reasons["train/cat/empty.png"] == "it is empty"
    assert reasons["train/dog/words.jpg"] == "it is not an image in a supported format"
    assert reasons["test/dog/short.png"].startswith("it is damaged or truncated")
    assert reasons["test/dog/missing.png"] == "no such file or directory"


def test_equal_files_are_found_across_splits(pets):
    (pets / "test/cat/again.png").write_bytes((pets / "train/cat/b.png").read_bytes())
    check = run_check(pets)
    assert group_names(check) == [(True, ["train/cat/b.png", "test/cat/again.png"])]
    assert check.across_splits == check.groups and check.across_classes == []


def test_near_duplicates_are_found_across_classes(pets):
    image(3).save(pets / "train/cat/ünïcode 猫 'a' & <b>.jpg", quality=60)
    check = run_check(pets)
    assert group_names(check) == [(False, ["train/cat/ünïcode 猫 'a' & <b>.jpg", "train/dog/a.png"])]
    assert check.across_classes == check.groups and check.across_splits == []


def test_identical_images_and_near_duplicates_are_one_group(pets):
    (pets / "train/dog/twin.png").write_bytes((pets / "train/dog/a.png").read_bytes())
    image(3).save(pets / "train/dog/small.jpg", quality=60)
    assert group_names(run_check(pets)) == [(False, ["train/dog/a.png", "train/dog/small.jpg", "train/dog/twin.png"])]


def test_groups_are_sorted_by_splits_then_classes(pets):
    for path, original in (("train/dog/b2", 4), ("train/dog/cat", 0), ("test/cat/b", 1)):
        image(original).save(pets / f"{path}.bmp")
    assert [(group.splits, group.labels) for group in run_check(pets).groups] == [
        (("train", "test"), ("cat",)),
        (("train",), ("cat", "dog")),
        (("train",), ("dog",)),
    ]


def test_blank_images_are_listed_and_duplicates_only_if_identical(pets):
    for name, side in (("one", 40), ("two", 41), ("three", 41)):
        Image.new("RGB", (side, 40), "white").save(pets / f"train/cat/{name}.png")
    check = run_check(pets)
    assert [member.name for member in check.blank] == [f"train/cat/{name}.png" for name in ("one", "three", "two")]
    assert group_names(check) == [(True, ["train/cat/three.png", "train/cat/two.png"])]


def test_unreadable_files_are_not_duplicates(pets):
    for name in "xy":
        (pets / f"train/cat/{name}.png").write_bytes(b"")
    assert run_check(pets).groups == []


def test_a_single_class_is_checked(tmp_path):
    (tmp_path / "cat").mkdir()
    image(0).save(tmp_path / "cat/a.png")
    assert run_check(tmp_path).counts("train") == {"cat": 1}


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no images"):
        run_check(tmp_path)


def exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


KINDS = {
    "rgb.png": ((), lambda path: image(0).save(path)),
    "grey.png": (("grey",), lambda path: image(0).convert("L").save(path)),
    "deep.png": (
        ("grey", "more than 8 bits"),
        lambda path: Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(path),
    ),
    "palette.png": (("palette",), lambda path: image(0).quantize(16).save(path)),
    "cmyk.jpg": (("CMYK",), lambda path: image(0).convert("CMYK").save(path)),
    "alpha.png": (("transparency",), lambda path: image(0).convert("RGBA").save(path)),
    "turned.jpg": (("turned by EXIF",), lambda path: image(0).save(path, exif=exif(6))),
    "upright.jpg": ((), lambda path: image(0).save(path, exif=exif(1))),
    "film.webp": (
        ("animated or of several pages",),
        lambda path: image(0).save(path, save_all=True, append_images=[image(1)]),
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_unusual_properties_of_a_file_are_detected(name, tmp_path):
    kinds, save = KINDS[name]
    save(tmp_path / name)
    assert image_kinds((tmp_path / name).read_bytes()) == kinds


def test_the_values_of_images_with_more_than_8_bits_are_collected(pets):
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)).save(pets / "train/cat/deep.png")
    assert run_check(pets).deep == [DeepValues((0, 599), (0, 1023))]


def test_images_that_use_little_of_their_range_are_compared_and_not_blank(pets, caplog):
    values = np.array(image(9).convert("L"))
    Image.fromarray(values.astype(np.uint16)).save(pets / "train/cat/deep.png")
    Image.fromarray(values).save(pets / "train/cat/grey.png")
    check = run_check(pets)
    assert check.blank == [] and not caplog.records
    assert group_names(check) == [(False, ["train/cat/deep.png", "train/cat/grey.png"])]


def test_kinds_are_counted_and_sizes_are_after_exif_orientation(pets):
    image(9).save(pets / "train/cat/turned.jpg", exif=exif(6))
    check = run_check(pets)
    assert check.kinds == {"turned by EXIF": 1}
    assert check.sizes.tolist().count([48, 40]) == 1


def test_parallel_and_serial_checks_are_equal(pets, monkeypatch):
    (pets / "train/cat/empty.png").write_bytes(b"")
    (pets / "test/cat/again.png").write_bytes((pets / "train/cat/b.png").read_bytes())
    serial = run_check(pets)
    monkeypatch.setattr(check_module, "_MIN_IMAGES_PER_PROCESS", 2)
    parallel = run_check(pets, workers=2)
    assert group_names(parallel) == group_names(serial) and parallel.unreadable == serial.unreadable
    assert parallel.sizes.tolist() == serial.sizes.tolist()


class KillingImage:
    """An image that ends the process that reads it, as the system does if memory runs out."""

    size = 1

    def read_bytes(self) -> bytes:
        os._exit(9)


def test_a_killed_process_is_a_user_error(monkeypatch):
    monkeypatch.setattr(check_module, "_MIN_IMAGES_PER_PROCESS", 1)
    split = Split(["a", "b"], np.zeros(2, dtype=np.int64), [KillingImage(), KillingImage()])
    with pytest.raises(UserError, match=r"was killed, probably because memory ran out.*--workers 1"):
        check_images(Dataset("killing", ("cat",), {"train": split}), workers=2, quiet=True)
