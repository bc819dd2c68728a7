"""What a check finds in a set of images."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.data.dataset import Dataset, Split
from mixlab.data.image_file import image_kinds
from mixlab.data.inspection import check as checking
from mixlab.data.inspection.check import Check, check_images
from mixlab.data.sources import open_as_provided
from mixlab.errors import UserError


def image(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (7, 6, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((48, 40), Image.Resampling.BICUBIC)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Three cats and two dogs to train on, a cat and a dog for the test: all different."""
    places = ("train/cat/a", "train/cat/b", "train/cat/c", "train/dog/a", "train/dog/b", "test/cat/a", "test/dog/a")
    for seed, place in enumerate(places):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        image(seed).save(tmp_path / f"{place}.png")
    return tmp_path


def checked(folder: Path, workers: int = 1) -> Check:
    return check_images(open_as_provided(f"folder:{folder}"), workers=workers, quiet=True)


def names(check: Check) -> list[tuple[bool, list[str]]]:
    return [(group.exact, [member.name for member in group.members]) for group in check.groups]


def test_in_a_sound_set_nothing_is_found(pets):
    check = checked(pets)
    assert (check.groups, check.unreadable, check.blank, check.kinds.total()) == ([], [], [], 0)
    assert check.counts("train") == {"cat": 3, "dog": 2}
    assert check.counts("test") == {"cat": 1, "dog": 1}
    assert check.sizes.tolist() == [[40, 48]] * 7


def test_the_source_s_own_parts_are_kept(pets):
    assert list(checked(pets).dataset.splits) == ["train", "test"]


def test_damaged_files_are_named_with_their_reasons(pets):
    (pets / "train/cat/empty.png").write_bytes(b"")
    (pets / "train/dog/words.jpg").write_text("no image")
    whole = (pets / "test/dog/a.png").read_bytes()
    (pets / "test/dog/short.png").write_bytes(whole[: len(whole) // 2])
    (pets / "test/dog/gone.png").symlink_to("nowhere")
    found = {member.name: reason for member, reason in checked(pets).unreadable}
    assert found["train/cat/empty.png"] == "it is empty"
    assert found["train/dog/words.jpg"] == "its content is no image of a kind that is known"
    assert found["test/dog/short.png"].startswith("it is damaged or cut short")
    assert found["test/dog/gone.png"] == "no such file or directory"


def test_equal_files_are_found_across_parts(pets):
    (pets / "test/cat/again.png").write_bytes((pets / "train/cat/b.png").read_bytes())
    check = checked(pets)
    assert names(check) == [(True, ["train/cat/b.png", "test/cat/again.png"])]
    assert check.across_parts == check.groups and check.across_classes == []


def test_near_copies_are_found_across_classes(pets):
    image(3).save(pets / "train/cat/ünïcode 猫 'a' & <b>.jpg", quality=60)
    check = checked(pets)
    assert names(check) == [(False, ["train/cat/ünïcode 猫 'a' & <b>.jpg", "train/dog/a.png"])]
    assert check.across_classes == check.groups and check.across_parts == []


def test_equal_and_near_copies_of_one_image_are_one_group(pets):
    (pets / "train/dog/twin.png").write_bytes((pets / "train/dog/a.png").read_bytes())
    image(3).save(pets / "train/dog/small.jpg", quality=60)
    assert names(checked(pets)) == [(False, ["train/dog/a.png", "train/dog/small.jpg", "train/dog/twin.png"])]


def test_what_lies_in_several_parts_comes_first_then_what_has_several_classes(pets):
    for place, original in (("train/dog/b2", 4), ("train/dog/cat", 0), ("test/cat/b", 1)):
        image(original).save(pets / f"{place}.bmp")
    assert [(group.splits, group.labels) for group in checked(pets).groups] == [
        (("train", "test"), ("cat",)),
        (("train",), ("cat", "dog")),
        (("train",), ("dog",)),
    ]


def test_plain_images_are_named_and_are_copies_only_where_their_bytes_are_equal(pets):
    for name, side in (("one", 40), ("two", 41), ("three", 41)):
        Image.new("RGB", (side, 40), "white").save(pets / f"train/cat/{name}.png")
    check = checked(pets)
    assert [member.name for member in check.blank] == [f"train/cat/{name}.png" for name in ("one", "three", "two")]
    assert names(check) == [(True, ["train/cat/three.png", "train/cat/two.png"])]


def test_unreadable_files_are_no_copies_of_each_other(pets):
    for name in "xy":
        (pets / f"train/cat/{name}.png").write_bytes(b"")
    assert checked(pets).groups == []


def test_one_class_is_checked_too(tmp_path):
    (tmp_path / "cat").mkdir()
    image(0).save(tmp_path / "cat/a.png")
    assert checked(tmp_path).counts("train") == {"cat": 1}


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        checked(tmp_path)


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
def test_what_is_unusual_about_a_file_is_said(name, tmp_path):
    kinds, save = KINDS[name]
    save(tmp_path / name)
    assert image_kinds((tmp_path / name).read_bytes()) == kinds


def test_kinds_are_counted_and_sizes_are_those_of_the_upright_image(pets):
    image(9).save(pets / "train/cat/turned.jpg", exif=exif(6))
    check = checked(pets)
    assert check.kinds == {"turned by EXIF": 1}
    assert check.sizes.tolist().count([48, 40]) == 1


def test_processes_find_what_one_finds(pets, monkeypatch):
    (pets / "train/cat/empty.png").write_bytes(b"")
    (pets / "test/cat/again.png").write_bytes((pets / "train/cat/b.png").read_bytes())
    alone = checked(pets)
    monkeypatch.setattr(checking, "_MIN_IMAGES_PER_PROCESS", 2)
    together = checked(pets, workers=2)
    assert names(together) == names(alone) and together.unreadable == alone.unreadable
    assert together.sizes.tolist() == alone.sizes.tolist()


class Deadly:
    """An image whose reading ends the process, as the system does where memory runs out."""

    size = 1

    def read_bytes(self) -> bytes:
        os._exit(9)


def test_a_killed_process_ends_in_a_sentence(monkeypatch):
    monkeypatch.setattr(checking, "_MIN_IMAGES_PER_PROCESS", 1)
    split = Split(["a", "b"], np.zeros(2, dtype=np.int64), [Deadly(), Deadly()])
    with pytest.raises(UserError, match=r"was killed, as happens where memory runs out.*--workers 1"):
        check_images(Dataset("deadly", ("cat",), {"train": split}), workers=2, quiet=True)
