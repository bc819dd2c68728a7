"""`tfds:NAME[:SPLIT]`: a dataset of TensorFlow Datasets, or the folder of a prepared one, read without TensorFlow.

It must be prepared as ArrayRecord; a dataset that is not prepared yet is downloaded and prepared by tensorflow_datasets
in its own folder. The encoded images are copied once into the user's cache, because the ArrayRecord reader uses
threads, which do not survive the fork of a data loader's workers.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mixlab.data.dataset import Dataset, Sample
from mixlab.data.readers.archive import InArchive
from mixlab.data.readers.extras import needs_extra, progress_bars_on_terminal
from mixlab.data.readers.table import are_hidden, hidden_labels_note, standard_splits, with_labelled_rows
from mixlab.errors import UserError
from mixlab.files import atomic_folder, cache_folder, write_text
from mixlab.report.progress import progress

_Row = tuple[int, str, int, int]
"""The class and name of an image, and the offset and number of its bytes."""


@dataclass(frozen=True)
class Target:
    """What the images are classified by, computed from the features of a row.

    name     identifies it among all targets of a dataset
    classes  class names
    index    from the decoded features of a row, except the image, to the class index
    """

    name: str
    classes: tuple[str, ...]
    index: Callable[[Mapping[str, Any]], int]


def read_tfds(location: str, *, quiet: bool) -> Dataset:
    """Load the dataset NAME[:SPLIT]. Raises UserError if it can't be loaded or has no images or classes."""
    source, _, tfds_split = location.partition(":")
    path = Path(source).expanduser()
    source = str(path.absolute()) if path.exists() else source
    name = f"tfds:{source}:{tfds_split}" if tfds_split else f"tfds:{source}"
    with needs_extra(name, "tfds"):
        import tensorflow_datasets  # noqa: F401  checks that it is installed
    with _translate_errors(name):
        builder = _prepare(source, quiet=quiet)
        features = dict(builder.info.features.items()) if hasattr(builder.info.features, "items") else {}
        image, label = _feature(name, features, "Image", "image"), _feature(name, features, "ClassLabel", "label")
        if tfds_split:
            splits, notes = {"train": tfds_split}, []
        else:
            splits, notes = standard_splits(name, {split: split for split in builder.info.splits})
        target = _class_label(features, label)
        copies = {
            split: _copy_images(builder, tfds_name, image, target, quiet=quiet) for split, tfds_name in splits.items()
        }
    classes = target.classes
    samples: dict[str, list[Sample]] = {}
    for split, (images, rows) in copies.items():
        if are_hidden([number for number, *_ in rows], name, split, f'feature "{label}"'):
            notes.append(hidden_labels_note(split, len(rows)))
            continue
        samples[split] = [
            Sample(classes[number], f"{split}/{row_name}", InArchive(images, row_name, offset, size))
            for number, row_name, offset, size in rows
        ]
    return with_labelled_rows(name, samples, notes, classes)


def read_prepared(
    folder: Path, splits: Mapping[str, str], target: Target | str, *, brightness: int = 1, quiet: bool
) -> Dataset:
    """Load parts of a prepared dataset as the splits of a classification task.

    folder      with dataset_info.json
    splits      "train", "validation" and "test", in terms of TFDS, such as "train[:800]"
    target      the classes; the name of a ClassLabel feature for its own
    brightness  factor for pixel values, for images that are stored with a smaller range

    Raises UserError if the folder can't be read, or a split or feature is missing.
    """
    name = f"tfds:{folder}"
    with needs_extra(name, "tfds"):
        import tensorflow_datasets  # noqa: F401  checks that it is installed
    with _translate_errors(name):
        builder = _prepare(str(folder), quiet=quiet)
        features = dict(builder.info.features.items())
        image = _feature(name, features, "Image", "image")
        target = _class_label(features, target) if isinstance(target, str) else target
        samples = {}
        for split, tfds_name in splits.items():
            images, rows = _copy_images(builder, tfds_name, image, target, brightness, quiet=quiet)
            samples[split] = [
                Sample(target.classes[number], f"{split}/{row_name}", InArchive(images, row_name, offset, size))
                for number, row_name, offset, size in rows
            ]
    return with_labelled_rows(name, samples, (), target.classes)


def _class_label(features: Mapping[str, Any], label: str) -> Target:
    return Target(label, tuple(features[label].names), lambda row: int(np.asarray(row[label])))


def _prepare(source: str, *, quiet: bool) -> Any:
    import tensorflow_datasets

    if Path(source).is_dir():
        return tensorflow_datasets.builder_from_directory(source)
    builder = tensorflow_datasets.builder(source, file_format="array_record")
    with progress_bars_on_terminal(quiet=quiet):
        builder.download_and_prepare()
    return builder


def _feature(name: str, features: Mapping[str, Any], kind: str, default: str) -> str:
    """The only feature of a kind, or the one with the default name. Raises UserError if there is none."""
    candidates = sorted(key for key, feature in features.items() if type(feature).__name__ == kind)
    if default in candidates or len(candidates) == 1:
        return default if default in candidates else candidates[0]
    problem = f"several: {', '.join(candidates)}" if candidates else "none"
    raise UserError(
        f'{name} must have exactly one {kind} feature, or one called "{default}", but has {problem}. Its features are '
        f"{', '.join(sorted(features))}: choose another dataset."
    )


def _copy_images(
    builder: Any, tfds_split: str, image: str, target: Target, brightness: int = 1, *, quiet: bool
) -> tuple[Path, list[_Row]]:
    """Copy the images of a split into one file in the cache. Return its path and the rows."""
    import tensorflow_datasets

    info_file = Path(builder.data_dir) / "dataset_info.json"
    key = (str(info_file), info_file.stat().st_mtime_ns, tfds_split, target.name, brightness)
    cached = cache_folder() / "tfds" / hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    if not cached.is_dir():
        rows: list[_Row] = []
        source = builder.as_data_source(split=tfds_split, decoders={image: tensorflow_datasets.decode.SkipDecoding()})
        with (
            atomic_folder(cached) as temporary,
            (temporary / "images").open("wb") as file,
            progress(f"copy {tfds_split}", total=len(source), quiet=quiet) as advance,
        ):
            for number in range(len(source)):
                row = source[number]
                file_name = row.get("file_name", b"")
                file_name = f"/{file_name.decode()}" if isinstance(file_name, bytes) and file_name else ""
                content = row[image] if brightness == 1 else _brighter(row[image], brightness)
                rows.append((target.index(row), f"{number:07d}{file_name}", file.tell(), len(content)))
                file.write(content)
                advance()
            write_text(temporary / "rows.json", json.dumps(rows))
    return cached / "images", [tuple(row) for row in json.loads((cached / "rows.json").read_text(encoding="utf-8"))]


def _brighter(content: bytes, factor: int) -> bytes:
    """The image with multiplied pixel values, as PNG."""
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    brighter = io.BytesIO()
    Image.fromarray(pixels * np.uint8(factor)).save(brighter, "png")
    return brighter.getvalue()


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Turn errors of tensorflow_datasets into UserErrors."""
    import tensorflow_datasets

    try:
        yield
    except UserError:
        raise
    except tensorflow_datasets.core.DatasetNotFoundError as error:
        raise UserError(
            f"{name} is neither a dataset of TensorFlow Datasets nor a folder: see "
            "https://www.tensorflow.org/datasets/catalog for the names."
        ) from error
    except NotImplementedError as error:
        raise UserError(
            f"{name} is prepared in a format without random access: prepare it as ArrayRecord with "
            "`tfds build NAME --file_format=array_record`."
        ) from error
    except (ImportError, OSError, RuntimeError, ValueError, KeyError) as error:
        message = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{name} can't be opened ({type(error).__name__}: {message}): check the name, or prepare it on another "
            "machine with `tfds build NAME --file_format=array_record` and give its folder as tfds:PATH."
        ) from error
