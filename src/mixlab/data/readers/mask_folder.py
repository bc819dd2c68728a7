"""`masks:PATH`: images with a mask for each, in one of these layouts.

    CamVid's       train/ trainannot/ val/ valannot/ test/ testannot/, with lists such as train.txt or without
    PASCAL VOC's   JPEGImages/ SegmentationClass/ ImageSets/Segmentation/train.txt ...
    plain          images/ masks/, with folders train/, val/, test/ in both, around both, or without

An image and its mask have the same name up to the suffix. `mask_classes` says how classes are found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mixlab.data.dataset import SPLITS, Dataset, Split
from mixlab.data.image_file import image_sides
from mixlab.data.mask_file import mask_size
from mixlab.data.masks import Masks
from mixlab.data.readers.data_dirs import data_dirs
from mixlab.data.readers.folder_files import entries, files_below, is_folder
from mixlab.data.readers.mask_classes import CAMVID, VOC, mask_classes
from mixlab.data.readers.split_names import SPLIT_WORDS, check_one_name_per_split, find_splits
from mixlab.errors import UserError

_ANNOTATIONS = "annot"
_NAMED = {"camvid": "CamVid"}
"""Fixed names of data sets -> their folders in $MIXLAB_DATA or the cache."""


@dataclass(frozen=True)
class _Pair:
    """An image and its mask, and the name of the image relative to the data set."""

    name: str
    image: Path
    mask: Path


def open_masks(location: str) -> tuple[str, Path]:
    """The name and the folder of a data set: a path, or a fixed name such as camvid. Raises UserError if missing."""
    if location not in _NAMED:
        path = Path(location).expanduser()
        _require_folder(path)
        return f"masks:{path.absolute()}", path
    candidates = [folder / _NAMED[location] for folder in data_dirs()]
    found = next((folder for folder in candidates if folder.is_dir()), None)
    if found is None:
        raise UserError(
            f"masks:{location} is not on this machine: unpack it to {' or '.join(map(str, candidates))}, or give its "
            "folder as masks:PATH."
        )
    return f"masks:{location}", found


def read_masks(location: str) -> Dataset:
    """Read the data set with the splits that it has.

    The headers of all files are read, but no pixels. Raises UserError if the folder has no known layout, if a mask is
    missing, is no mask, or has another size than its image, or if the classes are unknown.
    """
    name, root = open_masks(location)
    known, of_split = _splits(root)
    everything = [pair for listed in of_split.values() for pair in listed]
    if not everything:
        raise UserError(f"{root} has no images: add images with masks of the same names.")
    classes = mask_classes(root, known, [pair.mask for pair in everything])
    for pair in everything:
        _require_same_size(pair, mask_size(pair.mask, colours=classes.coding.of_colour))
    splits = {
        split: Split(
            names=[pair.name for pair in of_split[split]],
            labels=Masks(tuple(pair.mask for pair in of_split[split]), classes.coding),
            images=[pair.image for pair in of_split[split]],
        )
        for split in SPLITS
        if of_split.get(split)
    }
    return Dataset(name, classes.names, splits)


def _splits(root: Path) -> tuple[tuple[str, ...] | None, dict[str, list[_Pair]]]:
    """The classes of a layout with known ones, and the images of each split."""
    if (root / "SegmentationClass").is_dir():
        return VOC, _voc(root)
    folders = _folder_names(root)
    if annotated := _split_words([name for name in folders if f"{name}{_ANNOTATIONS}" in folders], root):
        return CAMVID, {
            split: _pairs(root, root / name, root / f"{name}{_ANNOTATIONS}", _listed_names(root / f"{name}.txt"))
            for name, split in annotated.items()
        }
    if {"images", "masks"} <= set(folders):
        if inner := _split_words(_folder_names(root / "images"), root):
            return None, {
                split: _pairs(root, root / "images" / name, root / "masks" / name) for name, split in inner.items()
            }
        return None, {"train": _pairs(root, root / "images", root / "masks")}
    if around := _split_words([name for name in folders if (root / name / "masks").is_dir()], root):
        return None, {
            split: _pairs(root, root / name / "images", root / name / "masks") for name, split in around.items()
        }
    raise UserError(
        f"{root} has no known layout of masks: it needs the folders images and masks, or those of CamVid (train, "
        "trainannot) or of PASCAL VOC (JPEGImages, SegmentationClass)."
    )


def _folder_names(folder: Path) -> list[str]:
    return [entry.name for entry in entries(folder) if is_folder(entry)]


def _split_words(names: list[str], root: Path) -> dict[str, str]:
    """The names that mean a split -> the split. Raises UserError if two mean the same."""
    found = find_splits(names)
    check_one_name_per_split(str(root), found)
    return found


def _voc(root: Path) -> dict[str, list[_Pair]]:
    lists = {file.stem: file for file in sorted((root / "ImageSets" / "Segmentation").glob("*.txt"))}
    names = _split_words([name for name in lists if name in SPLIT_WORDS], root)
    if not names:
        raise UserError(
            f"{root} has the folders of PASCAL VOC, but no list of a split: add ImageSets/Segmentation/train.txt with "
            "one name per line."
        )
    return {
        split: _pairs(root, root / "JPEGImages", root / "SegmentationClass", _listed_names(lists[name]))
        for name, split in names.items()
    }


def _listed_names(file: Path) -> list[str] | None:
    """The names in a list, without folders and suffixes; None without such a list.

    Lists may have paths of the machine where they were written, and the mask in a second column.
    """
    if not file.is_file():
        return None
    lines = file.read_text(encoding="utf-8").splitlines()
    return [Path(line.split()[0]).stem for line in lines if line.strip()]


def _pairs(root: Path, images: Path, masks: Path, names: list[str] | None = None) -> list[_Pair]:
    """The images of a folder with their masks; those of `names` only, in their order, if there are any."""
    for folder in (images, masks):
        _require_folder(folder)
    image_of, mask_of = _by_stem(images), _by_stem(masks)
    pairs = []
    for stem in image_of if names is None else names:
        if stem not in image_of:
            raise UserError(
                f"{images} has no image {stem}, which a list of the split names: add it, or remove its line."
            )
        if stem not in mask_of:
            raise UserError(f"The image {image_of[stem]} has no mask: add {masks / stem}.png, or remove the image.")
        name = image_of[stem].relative_to(root).as_posix()
        pairs.append(_Pair(name, image_of[stem], mask_of[stem]))
    return pairs


def _by_stem(folder: Path) -> Mapping[str, Path]:
    """The image files below a folder by their path in it without suffix. Raises UserError for two with the same."""
    found: dict[str, Path] = {}
    for file in files_below(folder).images:
        stem = file.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise UserError(f"{found[stem]} and {file} have the same name: rename one of them.")
        found[stem] = file
    return found


def _require_same_size(pair: _Pair, mask: tuple[int, int]) -> None:
    image = image_sides(pair.image)
    if image != mask:
        raise UserError(
            f"The mask {pair.mask} has {mask[0]} x {mask[1]} pixels, but its image has {image[0]} x {image[1]}: masks "
            "must have the size of their images, so save it again in that size, without interpolation."
        )


def _require_folder(path: Path) -> None:
    if not path.is_dir():
        raise UserError(f"{path.absolute()} is not a folder: give one with images and masks, such as masks:PATH.")
