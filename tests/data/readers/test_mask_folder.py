"""Data sets of images with masks: their layouts, classes and splits, and what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.data.mask_file import IGNORED
from mixlab.data.mask_sources import MASK_KINDS
from mixlab.data.masks import Masks
from mixlab.data.readers.mask_folder import read_masks
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from shape_masks import draw, write_camvid, write_pair, write_plain


def _masks(dataset, split: str) -> Masks:
    labels = dataset.splits[split].labels
    assert isinstance(labels, Masks)
    return labels


def test_camvids_layout_is_paired_by_name_and_its_lists_may_have_other_paths(tmp_path: Path):
    dataset = read_masks(str(write_camvid(tmp_path)))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 8, "validation": 2, "test": 3}
    assert dataset.classes == ("ground", "square")
    np.testing.assert_array_equal(_masks(dataset, "test").read(0), draw(10)[1])


def test_an_image_that_is_not_in_the_list_of_its_split_is_left_out(tmp_path: Path):
    write_camvid(tmp_path)
    (tmp_path / "train.txt").write_text("03.png\n01.png\n")
    assert read_masks(str(tmp_path)).splits["train"].names == ["train/03.png", "train/01.png"]


def test_without_classes_txt_camvids_layout_has_its_eleven_classes_and_void_is_ignored(tmp_path: Path):
    write_camvid(tmp_path)
    (tmp_path / "classes.txt").unlink()
    Image.fromarray(np.full((24, 32), 11, dtype=np.uint8)).save(tmp_path / "trainannot" / "00.png")
    dataset = read_masks(str(tmp_path))
    assert len(dataset.classes) == 11
    assert dataset.classes[3] == "road"
    assert (_masks(dataset, "train").read(0) == IGNORED).all()


def test_vocs_layout_has_splits_from_lists_and_palette_masks(tmp_path: Path):
    for number in range(4):
        image, mask = draw(number)
        for folder in ("JPEGImages", "SegmentationClass"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "JPEGImages" / f"{number}.jpg")
        palette = Image.fromarray(mask).convert("P")
        palette.putpalette([channel for value in range(256) for channel in (value, 255 - value, 0)])
        palette.save(tmp_path / "SegmentationClass" / f"{number}.png")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, names in {"train": "0\n1\n", "val": "2\n", "trainval": "0\n1\n2\n"}.items():
        (lists / f"{name}.txt").write_text(names)
    dataset = read_masks(str(tmp_path))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 2, "validation": 1}
    assert dataset.classes[:2] == ("background", "aeroplane")
    np.testing.assert_array_equal(_masks(dataset, "train").read(1), draw(1)[1])


@pytest.mark.parametrize("around", [True, False])
def test_the_plain_layout_may_have_folders_of_splits_around_or_inside(tmp_path: Path, *, around: bool):
    for split, number in (("train", 0), ("val", 1), ("test", 2)):
        images, masks = (tmp_path / split / each if around else tmp_path / each / split for each in ("images", "masks"))
        write_pair(images, masks, "same", number)
    dataset = read_masks(str(tmp_path))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 1, "validation": 1, "test": 1}
    np.testing.assert_array_equal(_masks(dataset, "validation").read(0), draw(1)[1])
    assert dataset.classes == ("0", "1")  # the values in the masks, without the ignored one


def test_missing_splits_are_held_out_and_the_masks_follow_their_images(tmp_path: Path):
    dataset = open_dataset(f"masks:{write_plain(tmp_path)}", MASK_KINDS, quiet=True)
    assert sum(len(split) for split in dataset.splits.values()) == 12
    for name, split in dataset.splits.items():
        number = int(Path(split.names[0]).stem)
        np.testing.assert_array_equal(_masks(dataset, name).read(0), draw(number)[1])
        np.testing.assert_array_equal(split.image(0), draw(number)[0])


def test_colours_of_classes_txt_are_classes_and_ignored_ones_are_ignored(tmp_path: Path):
    write_plain(tmp_path)
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[[1, 255]] = (128, 64, 0), (9, 9, 9)
    for file in (tmp_path / "masks").glob("*.png"):
        Image.fromarray(colours[np.array(Image.open(file))]).save(file)
    (tmp_path / "classes.txt").write_text("ground 0 0 0\nsmall square, 128, 64, 0\nignored 9 9 9\n")
    dataset = read_masks(str(tmp_path))
    assert dataset.classes == ("ground", "small square")
    np.testing.assert_array_equal(_masks(dataset, "train").read(3), draw(3)[1])


def test_the_fingerprint_depends_on_the_content_of_masks(tmp_path: Path):
    before = read_masks(str(write_plain(tmp_path)))
    first, listed = before.fingerprint, before.listing_digest
    mask = np.array(Image.open(tmp_path / "masks" / "00.png"))
    mask[0, 0] = 1
    Image.fromarray(mask).save(tmp_path / "masks" / "00.png")
    assert read_masks(str(tmp_path)).fingerprint != first
    assert len(listed) == 32


def _wrong_size(root: Path) -> None:
    Image.fromarray(draw(0)[1][:10]).save(root / "masks" / "00.png")


def _missing(root: Path) -> None:
    (root / "masks" / "00.png").unlink()


def _jpeg(root: Path) -> None:
    Image.fromarray(draw(0)[1]).save(root / "masks" / "00.png", format="JPEG")


def _photograph(root: Path) -> None:
    Image.fromarray(draw(0)[0]).save(root / "masks" / "00.png")


def _text(root: Path) -> None:
    (root / "masks" / "00.png").write_text("no image")


def _twice(root: Path) -> None:
    (root / "classes.txt").write_text("square\nsquare\n")


def _some_colours(root: Path) -> None:
    (root / "classes.txt").write_text("ground 0 0 0\nsquare\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_wrong_size, "has 10 x 32 pixels, but its image has 24 x 32"),
        (_missing, "has no mask: add"),
        (_jpeg, "is a JPEG, whose compression changes the values"),
        (_photograph, r"has colours \(RGB\), but no class has one"),
        (_text, "can't be read"),
        (_twice, 'has the class "square" twice'),
        (_some_colours, "has a colour for 1 of 2 classes"),
    ],
)
def test_a_wrong_data_set_ends_in_a_sentence(tmp_path: Path, change, message: str):
    change(write_plain(tmp_path))
    with pytest.raises(UserError, match=message):
        read_masks(str(tmp_path))


def test_a_value_outside_the_classes_is_named_with_its_file(tmp_path: Path):
    write_plain(tmp_path)
    mask = draw(0)[1]
    mask[0, :3] = 7
    Image.fromarray(mask).save(tmp_path / "masks" / "00.png")
    dataset = read_masks(str(tmp_path))
    with pytest.raises(UserError, match=r"00.png has the value 7 in 3 pixels, which no class has"):
        _masks(dataset, "train").read(0)


def test_masks_without_labelled_pixels_and_classes_are_refused(tmp_path: Path):
    write_plain(tmp_path)
    (tmp_path / "classes.txt").unlink()
    for file in (tmp_path / "masks").glob("*.png"):
        Image.fromarray(np.full((24, 32), IGNORED, dtype=np.uint8)).save(file)
    with pytest.raises(UserError, match="has no labelled pixel"):
        read_masks(str(tmp_path))


def test_another_folder_is_refused_with_the_known_layouts(tmp_path: Path):
    (tmp_path / "cats").mkdir()
    with pytest.raises(UserError, match="has no known layout of masks: it needs the folders images and masks"):
        read_masks(str(tmp_path))
    with pytest.raises(UserError, match="is not a folder"):
        read_masks(str(tmp_path / "nothing"))


def test_camvid_is_searched_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_camvid(tmp_path / "CamVid")
    monkeypatch.setenv("MIXLAB_DATA", str(tmp_path))
    assert read_masks("camvid").name == "masks:camvid"
    monkeypatch.setenv("MIXLAB_DATA", str(tmp_path / "other"))
    monkeypatch.setattr("mixlab.data.readers.data_dirs.cache_folder", lambda: tmp_path / "cache")
    with pytest.raises(UserError, match="masks:camvid is not on this machine: unpack it to"):
        read_masks("camvid")
