"""`tar:FILE`: an archive of what `folder:PATH` is, below a folder of its own or not."""

from pathlib import Path, PurePosixPath

from mixlab.data.dataset import Dataset, Sample
from mixlab.data.readers.archive import members
from mixlab.data.readers.folder_scan import SPLIT_FOLDERS, FolderScan, is_image, is_junk, text
from mixlab.data.splits import as_provided
from mixlab.errors import UserError
from mixlab.report.text import pluralize


def read_tar(path: Path, *, quiet: bool) -> Dataset:
    tree = FolderScan(path)
    files = [(PurePosixPath(text(one.file.name)), one.file) for one in members(path, quiet=quiet)]
    files = [(place, file) for place, file in files if not any(map(is_junk, place.parts))]
    tree.others.update(place.suffix.lower() or "no ending" for place, _ in files if not is_image(place))
    images = [(place, file) for place, file in files if is_image(place)]
    if not images:
        hint = f' Its samples are labelled by .cls files: write "wds:{path}".' if tree.others[".cls"] else ""
        raise UserError(
            f"tar:{path} holds no images: it takes a folder of them for each class (.jpg, .png, .webp ...).{hint}"
        )
    outer = _outer([place.parts for place, _ in images])
    inner = [place.parts[outer:] for place, _ in images]
    in_parts = any(len(splits) > 2 and splits[0].lower() in SPLIT_FOLDERS for splits in inner)
    for (place, file), (*folders, _) in sorted(zip(images, inner, strict=True), key=lambda one: one[0][0].as_posix()):
        split = SPLIT_FOLDERS.get(folders.pop(0).lower()) if in_parts and folders else "train"
        if split is None:
            if place.parts[outer] not in tree.beside_parts:
                tree.beside_parts.append(place.parts[outer])
        elif folders:
            tree.splits.setdefault(split, []).append(Sample(folders[0], place.as_posix(), file))
        else:
            tree.loose += 1
    if not tree.splits:
        raise UserError(
            f"tar:{path} holds {pluralize(tree.loose, 'image')} but no folders of them: an image's class is the "
            "folder it lies in, so pack a folder for each class."
        )
    return as_provided(f"tar:{path.absolute()}", tree.splits, tree.notes)


def _outer(paths: list[tuple[str, ...]]) -> int:
    """How many folders there are around the folders of classes or of parts: those that all images share."""
    shortest = min(map(len, paths))
    outer = 0
    while outer + 2 < shortest and len({path[outer] for path in paths}) == 1 and paths[0][outer] not in SPLIT_FOLDERS:
        outer += 1
    return outer
