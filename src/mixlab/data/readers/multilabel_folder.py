"""`folder:PATH` with several labels per image: a folder for each label, and a copy of an image in each of its folders.

Images with equal bytes are one image, whatever their names, and so is a link with its target. Splits are those of a
folder with one class per image.
"""

from collections import defaultdict
from pathlib import Path

from mixlab.data.dataset import EMPTY_DIGEST, Dataset, Sample, content_digest
from mixlab.data.multilabel import MultilabelSample, multilabel_as_provided
from mixlab.data.readers.folder_scan import scan


def read_multilabel_folder(path: Path) -> Dataset:
    """Read a folder with the splits that it has. Raises UserError as `scan` does."""
    contents = scan(path)
    samples = {split: _united(images) for split, images in contents.splits.items()}
    return multilabel_as_provided(f"folder:{path.absolute()}", samples, contents.notes)


def _united(samples: list[Sample]) -> list[MultilabelSample]:
    """One image for each content, with the labels of all its copies and the name of the first."""
    copies: defaultdict[bytes, list[Sample]] = defaultdict(list)
    for sample in samples:
        digest = content_digest(sample.image)
        copies[sample.name.encode() if digest == EMPTY_DIGEST else digest].append(sample)
    return [
        MultilabelSample(frozenset(copy.label for copy in group), group[0].name, group[0].image)
        for group in copies.values()
    ]
