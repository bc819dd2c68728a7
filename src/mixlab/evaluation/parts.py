"""Evaluations in parts: each finished part is stored, so that an interrupted evaluation goes on with the next one."""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from mixlab.evaluation.evaluation import ARRAYS, Evaluation
from mixlab.files import atomic_file

_MAX_IMAGES = 10_000
_MAX_LOGITS = 20_000_000  # 80 MB
_SCALED = "scaled "


def images_per_part(classes: int) -> int:
    """The number of images whose logits are in memory at the same time, if they are stored."""
    return max(min(_MAX_IMAGES, _MAX_LOGITS // classes), 1)


@dataclass(frozen=True, eq=False)
class Scores:
    """The predictions for some images.

    evaluation  what is kept of each image
    scaled      the same with logits that are divided by a temperature, or None
    logits      None if they are not kept
    """

    evaluation: Evaluation
    scaled: Evaluation | None
    logits: Float32[np.ndarray, "image class"] | None


@dataclass(frozen=True, eq=False)
class Part:
    """The scores of some images of a split.

    readable    the indices in the split of the images that could be read
    unreadable  the reason why an image was skipped, by its name
    """

    scores: Scores
    readable: Int64[np.ndarray, " image"]
    unreadable: dict[str, str]


class PartStore:
    """The finished parts of one evaluation, as files of a folder that belongs to it alone.

    folder       need not exist; its name must depend on everything that determines the scores
    classes      class names, in the order of the logits
    with_logits  whether the logits are stored as well
    """

    def __init__(self, folder: Path, classes: tuple[str, ...], *, with_logits: bool):
        self._folder, self._classes = folder, classes
        self.with_logits = with_logits

    def load(self, indices: Int64[np.ndarray, " image"]) -> Part | None:
        """The part with the images `indices`; None if it is not finished."""
        file = self._file(indices)
        return self._read(file) if file.is_file() else None

    def save(self, indices: Int64[np.ndarray, " image"], part: Part) -> None:
        scores = part.scores
        arrays: dict[str, Any] = {name: getattr(scores.evaluation, name) for name in ARRAYS} | {
            "readable": part.readable
        }
        if scores.scaled is not None:
            arrays |= {_SCALED + name: getattr(scores.scaled, name) for name in ARRAYS}
        if scores.logits is not None:
            arrays["logits"] = scores.logits
        reasons = np.frombuffer(json.dumps(part.unreadable).encode(), np.uint8)
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, unreadable=reasons, **arrays)
        with atomic_file(self._file(indices)) as temporary:
            temporary.write_bytes(content.getbuffer())

    def parts(self) -> Iterator[Part]:
        """The finished parts, in order, one at a time."""
        yield from map(self._read, sorted(self._folder.glob("*.npz")))

    def _file(self, indices: Int64[np.ndarray, " image"]) -> Path:
        return self._folder / f"{indices[0]:012d}.npz"

    def _read(self, file: Path) -> Part:
        with np.load(file) as arrays:
            scores = Scores(
                self._evaluation(arrays, ""),
                self._evaluation(arrays, _SCALED) if _SCALED + ARRAYS[0] in arrays else None,
                arrays.get("logits"),
            )
            return Part(scores, arrays["readable"], json.loads(arrays["unreadable"].tobytes()))

    def _evaluation(self, arrays: Mapping[str, np.ndarray], prefix: str) -> Evaluation:
        return Evaluation(self._classes, *(arrays[prefix + name] for name in ARRAYS))
