"""Image files and folders of images as arguments of a command."""

from pathlib import Path

from mixlab.cli.output import Log
from mixlab.errors import UserError
from mixlab.report.text import join_words, pluralize


def image_files(path: Path, log: Log, *, sounds: bool = False) -> list[Path]:
    """The file `path`, or the images, or sounds, in the folder `path`; what is left out is logged.

    Raises UserError for a folder without such files.
    """
    from mixlab.data.readers.folder_files import IMAGE_FILES, SOUND_FILES, files_below, repeated_note

    if not path.is_dir():
        return [path]
    file_type = SOUND_FILES if sounds else IMAGE_FILES
    found = files_below(path, file_type)
    if found.others:
        names = [file.relative_to(path).as_posix() for file in sorted(found.others, key=lambda file: file.suffix != "")]
        log(
            f"Skipped because their names do not end in the suffix of {file_type.singular} format: "
            f"{pluralize(len(names), 'file')} ({join_words(names)}). To include one of them, give it as a file."
        )
    if found.repeated:
        log(repeated_note([link.relative_to(path).as_posix() for link in found.repeated]))
    if not found.images:
        raise UserError(
            f"{path} contains no {file_type.noun}s: give files, or a folder that contains {file_type.noun}s "
            f"({file_type.examples})."
        )
    return found.images
