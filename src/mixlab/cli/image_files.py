"""Files and folders of images, or of sounds, as arguments of a command."""

from pathlib import Path
from typing import TYPE_CHECKING

from mixlab.errors import UserError
from mixlab.report.progress import Log
from mixlab.report.text import join_words, pluralize

if TYPE_CHECKING:
    from mixlab.data.preprocess import Preprocess


def image_files(path: Path, preprocess: "Preprocess", log: Log) -> list[Path]:
    """The file `path`, or the files in the folder `path` that `preprocess` reads; what is left out is logged.

    Raises UserError for a folder without such files.
    """
    from mixlab.data.readers.folder_files import IMAGE_FILES, SOUND_FILES, files_below, repeated_note

    if not path.is_dir():
        return [path]
    file_type = IMAGE_FILES if preprocess.spectrogram is None else SOUND_FILES
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
