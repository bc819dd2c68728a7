"""What a trained model sees in images: one vector each, computed once and kept on this machine.

Axes:  image  one of a part that could be read
       channel  of the vector that the model's head would be given
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float32, Int64
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mixlab.data.batches import Batch, EvalBatches
from mixlab.data.dataset import Split, content_digest
from mixlab.data.preprocess import Preprocess
from mixlab.files import atomic_file, cache_folder
from mixlab.models.contract import ImageSize
from mixlab.report.progress import progress
from mixlab.runs.store import store_key
from mixlab.weights.adapt import Resize, Weights
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.zoo.architecture import Model

_IMAGES_PER_FILE = 512
"""An interruption loses no more than these."""


@dataclass(frozen=True)
class Backbone:
    """A trained model that is used for what it sees; `source` is where its weights were found."""

    source: str
    weights: Weights
    preprocess: Preprocess

    def cache(self, device: torch.device) -> Path:
        """The folder for all vectors that are computed alike."""
        alike = {
            "weights": self.weights.digest,
            "config": dict(self.weights.config),
            "code": self.weights.architecture.code_digest,
            "preprocess": self.preprocess.to_dict(),
            "device": device.type,
            "torch": torch.__version__,
        }
        return cache_folder() / "features" / store_key(alike)


@dataclass(frozen=True, eq=False)
class Features:
    """`unreadable`: the images that were left out, and why."""

    values: Float32[np.ndarray, "image channel"]
    labels: Int64[np.ndarray, " image"]
    unreadable: dict[str, str]


def open_backbone(source: str | Path, image_size: ImageSize | None = None, *, resize: Resize | None = None) -> Backbone:
    """Of any weights that `load` takes. Images are resized bilinearly, whatever the weights had."""
    opened = load_pretrained(source, image_size=image_size, resize=resize)
    return Backbone(str(source), opened.weights, replace(opened.preprocess, interpolation="bilinear"))


def features(
    backbone: Backbone,
    split: Split,
    device: torch.device,
    *,
    batch: int,
    workers: int = 0,
    max_unreadable: int = 0,
    quiet: bool = False,
) -> Features:
    """One vector an image. An image with known bytes is neither decoded nor shown to the model again."""
    folder = backbone.cache(device)
    digests = [content_digest(image) for image in split.images]
    known = _read_cache(folder)
    new = [index for index, digest in enumerate(digests) if digest not in known]
    unreadable: dict[str, str] = {}
    if new:
        # A known one goes along, because a part of which nothing can be read is an error.
        along = [index for index, digest in enumerate(digests) if digest in known][:1]
        asked = split.subset(new + along)
        batches = EvalBatches(
            asked, backbone.preprocess, batch=batch, workers=workers, max_unreadable=max_unreadable, quiet=quiet
        )
        asked_digests = [digests[index] for index in new + along]
        model = build_with_weights(backbone.weights).to(device)
        with progress(f"features of {Path(backbone.source).name}", len(batches.readable), quiet=quiet) as advance:
            for found in _compute(model, batches, asked_digests, device):
                _keep(folder, found)
                known |= found
                advance(len(found))
        unreadable = batches.unreadable
    there = [index for index, digest in enumerate(digests) if digest in known]
    return Features(np.stack([known[digests[index]] for index in there]), split.labels[there], unreadable)


def missing_features(backbone: Backbone, split: Split, device: torch.device) -> list[int]:
    """The places of the images that `features` would show to the model."""
    known = _read_cache(backbone.cache(device))
    return [index for index, image in enumerate(split.images) if not known or content_digest(image) not in known]


def seconds_per_image(backbone: Backbone, split: Split, device: torch.device, *, batch: int) -> tuple[float, float]:
    """To read one in this process, and to show it to the model: by a batch from all over `split`, which is not kept."""
    few = split.subset(np.linspace(0, len(split) - 1, min(len(split), batch)).astype(int))
    began = perf_counter()
    batches = EvalBatches(few, backbone.preprocess, batch=batch, max_unreadable=len(few), quiet=True)
    read = perf_counter() - began
    model = build_with_weights(backbone.weights).to(device)
    shown = 0.0
    for _ in range(2):  # the first call warms up
        began = perf_counter()
        deque(_compute(model, batches, [content_digest(image) for image in few.images], device), maxlen=0)
        shown = perf_counter() - began
    return read / len(few), shown / len(batches.readable)


_Vectors = dict[bytes, Float32[np.ndarray, " channel"]]
"""By the digest of the image's bytes."""


@torch.inference_mode()
def _compute(model: Model, batches: EvalBatches, digests: list[bytes], device: torch.device) -> Iterator[_Vectors]:
    """As many at once as one file of the cache holds, or a few more."""
    found: _Vectors = {}
    for batch in batches:
        found |= _of(batch, model.embed(batch.on(device)[0]), digests)
        if len(found) >= _IMAGES_PER_FILE:
            yield found
            found = {}
    if found:
        yield found


def _of(batch: Batch, vectors: torch.Tensor, digests: list[bytes]) -> _Vectors:
    rows = vectors.numpy(force=True)
    return {digests[index]: row for index, row in zip(batch.indices, rows, strict=True)}


def _keep(folder: Path, vectors: _Vectors) -> None:
    digests = np.stack([np.frombuffer(digest, dtype=np.uint8) for digest in vectors])
    name = hashlib.blake2b(digests.tobytes(), digest_size=8).hexdigest()
    with atomic_file(folder / f"{name}.safetensors") as temporary:
        temporary.write_bytes(save({"digests": digests, "vectors": np.stack(list(vectors.values()))}))


def _read_cache(folder: Path) -> _Vectors:
    """What earlier calls have left; a damaged file is as one that is not there."""
    known: _Vectors = {}
    for file in folder.glob("*.safetensors"):
        try:
            kept = load_file(file)
        except SafetensorError:
            continue
        known |= zip(map(bytes, kept["digests"]), kept["vectors"], strict=True)
    return known
