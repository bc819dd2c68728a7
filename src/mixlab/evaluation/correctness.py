"""Small files with which others can compare their model with yours: one bit for each image, correct or not.

A file has three parts: a line that identifies the format, a line of JSON with the model, the data, the number of images
and the fingerprint of the set, and the packed bits in the order of the image names. 10,000 images need 1.25 kB and the
header. The images' names and labels are not stored; the fingerprint shows whether two files are about the same ones.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mixlab.errors import UserError
from mixlab.evaluation.predictions import Predictions
from mixlab.files import atomic_file, translate_read_errors
from mixlab.report.text import pluralize

_MAGIC = b"mixlab correctness"
_SCHEMA = 1
_KEYS = {"schema": int, "model": str, "data": str, "images": int, "fingerprint": str}


def write_correctness(path: Path, predictions: Predictions) -> None:
    """Write which images one run classifies correctly, for `mixlab evaluate --against`.

    The names of the model and of the data are written as they are: choose names that may be published. Raises UserError
    if the file can't be written.
    """
    (correct,) = predictions.correct
    header = {
        "schema": _SCHEMA,
        "model": predictions.model,
        "data": predictions.data,
        "images": predictions.images,
        "noun": predictions.noun,
        "fingerprint": predictions.fingerprint,
    }
    with atomic_file(path) as temporary:
        temporary.write_bytes(_MAGIC + b"\n" + json.dumps(header).encode() + b"\n" + np.packbits(correct).tobytes())


def is_correctness_file(path: Path) -> bool:
    """Whether the file starts as `write_correctness` writes it. Raises UserError if it can't be read."""
    if not path.is_file():
        return False
    with translate_read_errors(path), path.open("rb") as file:
        return file.read(len(_MAGIC) + 1) == _MAGIC + b"\n"


def read_correctness(path: Path) -> Predictions:
    """Read a file of `write_correctness`: one run, without the names and labels of its images.

    Raises UserError if the file is missing, is no such file, is truncated or too long, or was written by a later
    version.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: give a file that `mixlab evaluate --save` has written.")
    with translate_read_errors(path):
        content = path.read_bytes()
    magic, _, rest = content.partition(b"\n")
    if magic != _MAGIC:
        raise UserError(f"{path} is no correctness file: give a file that `mixlab evaluate --save` has written.")
    line, end, bits = rest.partition(b"\n")
    if not end:
        raise UserError(f"{path} is truncated in its header: copy or write it again.")
    header = _header(path, line)
    images, noun = header["images"], header.get("noun", "image")
    if len(bits) != (expected := (images + 7) // 8):
        state = "truncated" if len(bits) < expected else "too long"
        raise UserError(
            f"{path} is {state}: {pluralize(images, noun)} need {expected:,} bytes after the header, and it has "
            f"{len(bits):,}. Copy or write it again."
        )
    correct = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=images).astype(bool)
    return Predictions(header["model"], header["data"], header["fingerprint"], correct[None], noun=noun)


def _header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    damaged = UserError(f"The header of {path} is damaged: copy or write the file again.")
    if not isinstance(header, dict):
        raise damaged
    if (schema := header.get("schema")) != _SCHEMA:
        raise UserError(
            f"{path} has the format {schema}, but this version of mixlab reads format {_SCHEMA}: update mixlab or "
            "write the file again."
        )
    if any(not isinstance(header.get(key), kind) for key, kind in _KEYS.items()) or header["images"] < 1:
        raise damaged
    return header
