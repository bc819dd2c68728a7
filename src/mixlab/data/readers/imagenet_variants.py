"""`imagenet-v2`, `imagenet-a`, `imagenet-r`, `imagenet-sketch`: other test sets for models of ImageNet-1k.

Each is an unpacked folder with a folder of images for each class. Classes are named by their synsets. The folders of
ImageNet-V2 are named by class index, 0 to 999; sorted as text they would be in another order than the classes.

They are used with the licence of their images, which is not that of the repositories: ImageNet-V2's are from Flickr and
may be used as ImageNet's, those of the other sets were collected from the web.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mixlab.data.dataset import Dataset, Sample, Split
from mixlab.data.readers.data_dirs import data_dirs
from mixlab.data.readers.folder_files import entries, is_folder, is_image
from mixlab.data.readers.imagenet_classes import imagenet_synsets
from mixlab.errors import UserError
from mixlab.report.text import pluralize


@dataclass(frozen=True)
class ImageNetVariant:
    """A test set for models of ImageNet-1k.

    `classes`: the synsets of its classes, sorted. The set is evaluated with the logits of these classes only.
    `images`: the number of images that were published.
    `folders`: the names of the unpacked folder, searched in the default folders.
    `source`: paper, repository and the licence of the repository.
    """

    classes: tuple[str, ...]
    images: int
    folders: tuple[str, ...]
    source: str


VARIANTS = {
    "imagenet-v2": ImageNetVariant(
        imagenet_synsets(),
        10_000,
        ("imagenetv2-matched-frequency-format-val", "imagenetv2-matched-frequency", "imagenet-v2"),
        "Recht et al. 2019, https://arxiv.org/abs/1902.10811, https://github.com/modestyachts/ImageNetV2 (MIT)",
    ),
    "imagenet-a": ImageNetVariant(
        imagenet_synsets("imagenet-a"),
        7_500,
        ("imagenet-a",),
        "Hendrycks et al. 2021, https://arxiv.org/abs/1907.07174, https://github.com/hendrycks/natural-adv-examples "
        "(MIT)",
    ),
    "imagenet-r": ImageNetVariant(
        imagenet_synsets("imagenet-r"),
        30_000,
        ("imagenet-r",),
        "Hendrycks et al. 2021, https://arxiv.org/abs/2006.16241, https://github.com/hendrycks/imagenet-r (MIT)",
    ),
    "imagenet-sketch": ImageNetVariant(
        imagenet_synsets(),
        50_889,
        ("imagenet-sketch", "ImageNet-Sketch", "sketch"),
        "Wang et al. 2019, https://arxiv.org/abs/1905.13549, https://github.com/HaohanWang/ImageNet-Sketch (MIT)",
    ),
}
"""Dataset name -> the set. imagenet-v2 is the version "matched frequency", which the paper reports first."""


def open_imagenet_variant(name: str, path: Path | None) -> Dataset:
    """Open a set of `VARIANTS` as a "test" split.

    `path`: the unpacked folder; default: searched in $MIXLAB_DATA, then in the user's cache.

    Raises UserError if it is missing, if a class has no images, or if a folder is not one of its classes.
    """
    root = _root(name, path)
    variant = VARIANTS[name]
    folders = [entry.name for entry in entries(root) if is_folder(entry)]
    numbered = name == "imagenet-v2" and all(folder.isdecimal() and int(folder) < 1000 for folder in folders)
    samples = [
        Sample(variant.classes[int(folder)] if numbered else folder, f"{folder}/{file.name}", root / folder / file.name)
        for folder in folders
        for file in entries(root / folder)
        if is_image(Path(file.name))
    ]
    _check_classes(name, root, samples)
    notes = ()
    if len(samples) != variant.images:
        notes = (f"{root} has {pluralize(len(samples), 'image')}, but {variant.images:,} were published.",)
    dataset_name = f"{name}:{path.absolute()}" if path else name
    return Dataset(dataset_name, variant.classes, {"test": Split.from_samples(samples, variant.classes)}, notes)


def _root(name: str, path: Path | None) -> Path:
    defaults = [outer / folder for outer in data_dirs() for folder in VARIANTS[name].folders]
    candidates = [path] if path else defaults
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise UserError(
        f"{name} is not in {' or '.join(map(str, candidates))}: unpack it and give its folder, which has a folder for "
        f"each class, as {name}:PATH, or set $MIXLAB_DATA to the folder around it. Its source is "
        f"{VARIANTS[name].source}."
    )


def _check_classes(name: str, root: Path, samples: list[Sample]) -> None:
    classes = VARIANTS[name].classes
    images = Counter(sample.label for sample in samples)
    if unknown := sorted(images.keys() - set(classes)):
        raise UserError(
            f"{root} has the folder {unknown[0]}, which is not one of the {len(classes):,} classes of {name}: give the "
            "folder that contains its class folders, or use folder:PATH for other images."
        )
    if missing := [label for label in classes if not images[label]]:
        raise UserError(
            f"{root} has images of {len(classes) - len(missing):,} of the {len(classes):,} classes of {name}, and none "
            f"of {missing[0]}: unpack it again, or use folder:PATH for a part of it."
        )
