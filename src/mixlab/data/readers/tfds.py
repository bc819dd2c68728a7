"""`tfds:NAME[:SPLIT]`: a set of TensorFlow Datasets, or the folder of a prepared one, read without TensorFlow.

It has to be prepared as ArrayRecord. What is not prepared yet, tensorflow_datasets fetches and prepares into its own
folder. Its images are copied once, as they are encoded, into the user's cache: the reader of ArrayRecord has threads
that survive no fork, and a loader's workers are forked.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mixlab.data.dataset import Dataset, Sample
from mixlab.data.readers.archive import InArchive
from mixlab.data.readers.extras import bars_on_a_terminal, needs_extra
from mixlab.data.readers.table import HIDDEN, secret, standard_splits
from mixlab.data.splits import as_provided
from mixlab.errors import UserError
from mixlab.files import atomic_folder, cache_folder, write_text
from mixlab.report.progress import progress

_Row = tuple[int, str, int, int]
"""An image's class and name, and where its bytes begin and how many they are."""


def read_tfds(place: str, *, quiet: bool) -> Dataset:
    source, _, tfds_split = place.partition(":")
    path = Path(source).expanduser()
    source = str(path.absolute()) if path.exists() else source
    name = f"tfds:{source}:{tfds_split}" if tfds_split else f"tfds:{source}"
    with needs_extra(name, "tfds"):
        import tensorflow_datasets  # noqa: F401  whether it is there
    with _explained(name):
        builder = _prepared(source, quiet=quiet)
        features = dict(builder.info.features.items()) if hasattr(builder.info.features, "items") else {}
        image, label = _feature(name, features, "Image", "image"), _feature(name, features, "ClassLabel", "label")
        if tfds_split:
            splits, notes = {"train": tfds_split}, []
        else:
            splits, notes = standard_splits(name, {one: one for one in builder.info.splits})
        copies = {split: _copied(builder, one, image, label, quiet=quiet) for split, one in splits.items()}
    classes = tuple(features[label].names)
    found: dict[str, list[Sample]] = {}
    for split, (images, rows) in copies.items():
        if all(number == HIDDEN for number, *_ in rows):
            notes.append(secret(split, len(rows)))
            continue
        found[split] = [
            Sample(classes[number], f"{split}/{written}", InArchive(images, written, offset, size))
            for number, written, offset, size in rows
        ]
    return as_provided(name, found, tuple(notes), classes)


def _prepared(source: str, *, quiet: bool) -> Any:
    import tensorflow_datasets

    if Path(source).is_dir():
        return tensorflow_datasets.builder_from_directory(source)
    builder = tensorflow_datasets.builder(source, file_format="array_record")
    with bars_on_a_terminal(quiet=quiet):
        builder.download_and_prepare()
    return builder


def _feature(name: str, features: Mapping[str, Any], kind: str, default: str) -> str:
    """The one feature of a kind, or the one with the usual name."""
    found = sorted(key for key, feature in features.items() if type(feature).__name__ == kind)
    if default in found or len(found) == 1:
        return default if default in found else found[0]
    doubt = f"several, {', '.join(found)}" if found else "none"
    raise UserError(
        f'{name} should have one feature of the kind {kind}, or one that is called "{default}", and has {doubt}, among '
        f"its {', '.join(sorted(features))}: take another set."
    )


def _copied(builder: Any, tfds_split: str, image: str, label: str, *, quiet: bool) -> tuple[Path, list[_Row]]:
    """A file in the cache with the images of a split, one behind the other, and their rows."""
    import tensorflow_datasets

    described = Path(builder.data_dir) / "dataset_info.json"
    facts = (str(described), described.stat().st_mtime_ns, tfds_split)
    kept = cache_folder() / "tfds" / hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    if not kept.is_dir():
        rows: list[_Row] = []
        source = builder.as_data_source(split=tfds_split, decoders={image: tensorflow_datasets.decode.SkipDecoding()})
        with (
            atomic_folder(kept) as temporary,
            (temporary / "images").open("wb") as file,
            progress(f"copy {tfds_split}", total=len(source), quiet=quiet) as advance,
        ):
            for number in range(len(source)):
                row = source[number]
                written = row.get("file_name", b"")
                written = f"/{written.decode()}" if isinstance(written, bytes) and written else ""
                rows.append((int(np.asarray(row[label])), f"{number:07d}{written}", file.tell(), len(row[image])))
                file.write(row[image])
                advance()
            write_text(temporary / "rows.json", json.dumps(rows))
    return kept / "images", [tuple(row) for row in json.loads((kept / "rows.json").read_text(encoding="utf-8"))]


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """What tensorflow_datasets refuses, as a UserError."""
    import tensorflow_datasets

    try:
        yield
    except UserError:
        raise
    except tensorflow_datasets.core.DatasetNotFoundError as error:
        raise UserError(
            f"{name} is no set of TensorFlow Datasets, nor a folder: https://www.tensorflow.org/datasets/catalog lists "
            "the names."
        ) from error
    except NotImplementedError as error:
        raise UserError(
            f"{name} is prepared in a format without random access: prepare it as ArrayRecord, with "
            "`tfds build NAME --file_format=array_record`."
        ) from error
    except (ImportError, OSError, RuntimeError, ValueError, KeyError) as error:
        said = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{name} can't be opened ({type(error).__name__}: {said}): check the name, or prepare it elsewhere with "
            "`tfds build NAME --file_format=array_record` and give its folder, as tfds:PATH."
        ) from error
