"""An archive of a folder as described in `mixlab.data.readers.folder`, with or without outer folders."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mixlab.data.dataset import ContainedFile, Dataset, Sample
from mixlab.data.readers.folder_files import is_image, is_junk, normalize_name, suffix_or_none
from mixlab.data.readers.folder_scan import FolderScan
from mixlab.data.readers.split_names import check_one_name_per_split, find_splits
from mixlab.data.splits import as_provided
from mixlab.errors import UserError
from mixlab.report.text import pluralize


def read_packed_folder(kind: str, path: Path, named_files: Sequence[tuple[str, ContainedFile]]) -> Dataset:
    """Read an archive with the splits that it has.

    kind         "tar" or "zip", for the name of the dataset
    path         of the archive
    named_files  the path of each file inside the archive, with slashes, and the file; the last one of several with the
                 same path replaces the others, as it does when the archive is unpacked

    Raises UserError if the archive has no images in class folders.
    """
    contents = FolderScan(path)
    files = [(PurePosixPath(normalize_name(name)), file) for name, file in dict(named_files).items()]
    files = [(inside, file) for inside, file in files if not any(map(is_junk, inside.parts))]
    contents.other_files.update(suffix_or_none(inside) for inside, _ in files if not is_image(inside))
    images = [(inside, file) for inside, file in files if is_image(inside)]
    if not images:
        hint = f' Its samples have .cls files: write "wds:{path}".' if contents.other_files[".cls"] else ""
        raise UserError(
            f"{kind}:{path} has no images: it must contain a folder of images (.jpg, .png, .webp ...) for each class."
            f"{hint}"
        )
    depth = _outer_folders([inside.parts for inside, _ in images])
    inner = [inside.parts[depth:] for inside, _ in images]
    split_of = find_splits(dict.fromkeys(parts[0] for parts in inner if len(parts) > 1))
    has_splits = any(len(parts) > 2 and parts[0] in split_of for parts in inner)
    if has_splits:
        check_one_name_per_split(f"{kind}:{path}", split_of)
    for (inside, file), (*folders, _) in sorted(
        zip(images, inner, strict=True), key=lambda image: image[0][0].as_posix()
    ):
        split = split_of.get(folders.pop(0)) if has_splits and folders else "train"
        if split is None:
            if inside.parts[depth] not in contents.unused_folders:
                contents.unused_folders.append(inside.parts[depth])
        elif folders:
            contents.splits.setdefault(split, []).append(Sample(folders[0], inside.as_posix(), file))
        else:
            contents.images_outside_classes += 1
    if not contents.splits:
        raise UserError(
            f"{kind}:{path} has {pluralize(contents.images_outside_classes, 'image')} but no class folders: the class "
            "of an image is the folder that contains it, so pack a folder for each class."
        )
    return as_provided(f"{kind}:{path.absolute()}", contents.splits, contents.notes)


def _outer_folders(paths: list[tuple[str, ...]]) -> int:
    """The number of folders around those of classes or splits, which are common to all images."""
    shortest = min(map(len, paths))
    depth = 0
    while (
        depth + 2 < shortest
        and len({path[depth] for path in paths}) == 1
        and not find_splits(paths[0][depth : depth + 1])
    ):
        depth += 1
    return depth
