"""Listing of image folders: the images of each split and class in a stable order, and what was skipped."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mixlab.data.dataset import Sample
from mixlab.data.readers.folder_files import (
    IMAGE_FILES,
    FileType,
    entries,
    files_below,
    is_broken_link,
    is_folder,
    leads_around,
    normalize_name,
    repeated_note,
    suffix_or_none,
)
from mixlab.data.readers.split_names import check_one_name_per_split, find_splits
from mixlab.errors import UserError
from mixlab.report.text import join_words, pluralize


@dataclass
class FolderScan:
    """The contents of an image folder.

    Files are recognised as images by their suffix. The name of an image is its path relative to `root`, in Unicode
    normal form C and with slashes.

    `splits`: the images of each split, sorted by name; all are in "train" if the folder has no splits.
    `class_folders`: class folder -> a folder of images in it, or "" if it has images of its own.
    `unused_folders`: folders next to those of the splits.
    `empty_folders`: folders that would be classes but have no images.
    `images_outside_classes`: the number of images that are not in a class folder.
    `other_files`: the number of files that are not images, per suffix.
    `repeated`: links to a file or folder that is already included.
    `broken_links`: links to files or folders that do not exist; those to images are also in `splits`.
    `forbidden`: images in `splits` that the user has no permission to read.
    `accessible_images`: the number of images in `splits` that are neither broken links nor forbidden.
    """

    root: Path
    file_type: FileType = IMAGE_FILES
    splits: dict[str, list[Sample]] = field(default_factory=dict)
    class_folders: dict[str, str] = field(default_factory=dict)
    unused_folders: list[str] = field(default_factory=list)
    empty_folders: list[str] = field(default_factory=list)
    images_outside_classes: int = 0
    other_files: Counter[str] = field(default_factory=Counter)
    repeated: list[str] = field(default_factory=list)
    broken_links: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    accessible_images: int = 0

    @property
    def name(self) -> str:
        return f"{self.file_type.kind}:{self.root}"

    @property
    def noun(self) -> str:
        """One file, in messages."""
        return self.file_type.noun

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind of file or folder that was skipped, is not accessible or may be misunderstood."""
        notes = [f"Skipped the folder {name}: it has no {self.noun}s." for name in self.empty_folders]
        notes += [f"Skipped the folder {name}: it is not train, val or test." for name in self.unused_folders]
        if self.images_outside_classes:
            notes.append(
                f"Skipped because they are not in a class folder: {pluralize(self.images_outside_classes, self.noun)}."
            )
        if self.other_files:
            suffixes = ", ".join(sorted(self.other_files))
            notes.append(
                f"Skipped because they are not {self.noun}s: {pluralize(self.other_files.total(), 'file')} "
                f"({suffixes})."
            )
        if self.repeated:
            notes.append(repeated_note(self.repeated))
        notes += self.access_notes
        if self.class_folders and all(self.class_folders.values()):
            folder, inner = min(self.class_folders.items())
            labels = sorted({PurePosixPath(folder).name for folder in self.class_folders})
            notes.append(
                f"No class folder has {self.noun}s of its own, only folders such as {inner}: the classes are "
                f"{join_words(labels)}. If the classes lie one folder deeper, give "
                f"{self.file_type.kind}:{self.root / folder}, or move their folders up."
            )
        return tuple(notes)

    @property
    def access_notes(self) -> list[str]:
        """A sentence for each reason why images can't be read."""
        notes = []
        if self.broken_links:
            notes.append(
                f"Links to files that do not exist: {len(self.broken_links):,}, such as {self.broken_links[0]}; fetch "
                "the files, for example with `git annex get` or `dvc pull`."
            )
        if self.forbidden:
            notes.append(
                f"Not readable with your permissions: {pluralize(len(self.forbidden), self.noun)}, such as "
                f"{self.forbidden[0]}; change their permissions."
            )
        return notes


def scan(root: Path, file_type: FileType = IMAGE_FILES) -> FolderScan:
    """List the images of a folder, or its files of another type.

    Raises UserError if it does not exist, has no images in class folders or none that can be read, has two folders for
    one split, or if a single folder is around the class folders.
    """
    contents = FolderScan(root, file_type)
    if root.is_file():
        raise UserError(
            f"{contents.name} is a file: give a folder with a folder of {contents.noun}s for each class. "
            "Unpack archives first."
        )
    if not root.is_dir():
        raise UserError(
            f"{contents.name} does not exist ({root.absolute()}): give a folder with a folder of {contents.noun}s for "
            "each class."
        )
    for folder, split in _split_folders(contents):
        _add_split(contents, split, folder)
    _check_images(contents)
    _check_depth(contents)
    for images in contents.splits.values():
        images.sort(key=lambda image: image.name)
    return contents


def _split_folders(contents: FolderScan) -> list[tuple[Path, str]]:
    """The folders that contain class folders, and their splits.

    A folder named "test" is a class, not a split, if it contains no folders and has other folders next to it.
    """
    listing = entries(contents.root)
    folders = {entry.name: Path(entry.path) for entry in listing if is_folder(entry)}
    split_of = find_splits(folders)
    others = [name for name in folders if name not in split_of]
    if not split_of or (others and not any(is_folder(entry) for name in split_of for entry in entries(folders[name]))):
        return [(contents.root, "train")]
    check_one_name_per_split(contents.name, split_of)
    contents.unused_folders += map(normalize_name, others)
    contents.broken_links += [normalize_name(entry.name) for entry in listing if is_broken_link(entry.path)]
    return [(folders[name], split) for name, split in split_of.items()]


def _add_split(contents: FolderScan, split: str, folder: Path) -> None:
    for entry in entries(folder):
        path = Path(entry.path)
        if is_folder(entry) and leads_around(entry, folder):
            contents.repeated.append(_name(contents, path))
        elif is_folder(entry):
            _add_class(contents, split, path)
        elif is_broken_link(path):
            contents.broken_links.append(_name(contents, path))
        elif contents.file_type.includes(path):
            contents.images_outside_classes += 1
        else:
            contents.other_files[suffix_or_none(path)] += 1


def _add_class(contents: FolderScan, split: str, folder: Path) -> None:
    found = files_below(folder, contents.file_type)
    contents.other_files.update(map(suffix_or_none, found.others))
    contents.repeated += [_name(contents, link) for link in found.repeated]
    if not found.images:
        contents.empty_folders.append(_name(contents, folder))
        return
    has_own_images = any(image.parent == folder for image in found.images)
    inner = folder / found.images[0].relative_to(folder).parts[0]
    contents.class_folders[_name(contents, folder)] = "" if has_own_images else _name(contents, inner)
    label = normalize_name(folder.name)
    for image in found.images:
        name = _name(contents, image)
        contents.splits.setdefault(split, []).append(Sample(label, name, image))
        if os.access(image, os.R_OK):
            contents.accessible_images += 1
        else:
            (contents.broken_links if is_broken_link(image) else contents.forbidden).append(name)


def _name(contents: FolderScan, path: Path) -> str:
    return normalize_name(path.relative_to(contents.root).as_posix())


def _check_images(contents: FolderScan) -> None:
    if contents.access_notes and not contents.accessible_images:
        raise UserError(f"{contents.name} has no {contents.noun} that can be read. {' '.join(contents.access_notes)}")
    if not contents.splits and contents.images_outside_classes:
        raise UserError(
            f"{contents.name} has {pluralize(contents.images_outside_classes, contents.noun)} but no class folders: "
            f"the class of {contents.file_type.singular} is the folder that contains it, so move the "
            f"{contents.noun}s of each class into a folder."
        )
    if not contents.splits:
        hint = " Its files end in .dvc: run `dvc pull`." if contents.other_files[".dvc"] else ""
        raise UserError(
            f"{contents.name} has no {contents.noun}s: add a folder of {contents.noun}s "
            f"({contents.file_type.examples}) for each class.{hint}"
        )


def _check_depth(contents: FolderScan) -> None:
    """Raises UserError if every split has a single class folder, without images of its own."""
    if not all(contents.class_folders.values()) or len(contents.class_folders) > len(contents.splits):
        return
    folder, inner = max(contents.class_folders.items())
    if len(contents.class_folders) == 1:
        raise UserError(
            f"{contents.name} has one class folder, {folder}, which has no {contents.noun}s of its own: if the classes "
            f"lie deeper, give {contents.file_type.kind}:{_folder_around_classes(contents)}; if {folder} is the class, "
            f"move all of its {contents.noun}s directly into it."
        )
    raise UserError(
        f"{contents.name} has one class folder in each split, {join_words(sorted(contents.class_folders))}, without "
        f"images of its own: if the classes are the folders in it, such as {inner}, move them up by one folder."
    )


def _folder_around_classes(contents: FolderScan) -> Path:
    """The innermost folder that has all images in its subfolders."""
    folders = {PurePosixPath(image.name).parent for images in contents.splits.values() for image in images}
    common = PurePosixPath(os.path.commonpath(folders))
    return contents.root / (common.parent if common in folders else common)
