"""Features of images: the input of a trained model's head, one vector per image, computed once and cached.

Axes:  image    a readable image of a split
       channel  of the feature vector, which is the input of the head
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
"""An interruption loses at most this many vectors."""


@dataclass(frozen=True)
class Backbone:
    """A trained model without its head.

    source         the name or path that the weights were loaded from
    source_digest  SHA-256 of the tensors there, before a change of the image size
    """

    source: str
    weights: Weights
    preprocess: Preprocess
    source_digest: str

    def cache(self, device: torch.device) -> Path:
        """The cache folder for these weights, this preprocessing, this type of device and this version of torch."""
        key = {
            "weights": self.weights.digest,
            "config": dict(self.weights.config),
            "code": self.weights.architecture.code_digest,
            "preprocess": self.preprocess.to_dict(),
            "device": device.type,
            "torch": torch.__version__,
        }
        return cache_folder() / "features" / store_key(key)


@dataclass(frozen=True, eq=False)
class Features:
    """The feature vectors and class indices of the readable images.

    unreadable  the reason why an image was skipped, by its name
    """

    values: Float32[np.ndarray, "image channel"]
    labels: Int64[np.ndarray, " image"]
    unreadable: dict[str, str]


def open_backbone(source: str | Path, image_size: ImageSize | None = None, *, resize: Resize | None = None) -> Backbone:
    """Open weights as a backbone.

    source      any source that `mixlab.load` accepts
    image_size  input size in pixels; None: that of the weights
    resize      how a Mixer's token MLPs are resized, as for `mixlab.load`

    Images are resized with bilinear interpolation, whatever interpolation the weights were trained with.

    Raises UserError if the weights cannot be loaded.
    """
    opened = load_pretrained(source, image_size=image_size, resize=resize)
    preprocess = replace(opened.preprocess, interpolation="bilinear")
    return Backbone(str(source), opened.weights, preprocess, opened.source_digest)


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
    """The feature vector of every readable image; cached features are not computed again.

    batch           images per forward pass
    workers         processes that read images
    max_unreadable  how many unreadable images are skipped
    quiet           no progress bar

    Raises UserError if more images are unreadable, or if no image is readable.
    """
    folder = backbone.cache(device)
    digests = [content_digest(image) for image in split.images]
    vectors = _read_cache(folder)
    missing = [index for index, digest in enumerate(digests) if digest not in vectors]
    unreadable: dict[str, str] = {}
    if missing:
        # One cached image is read as well: EvalBatches raises an error if no image is readable.
        cached = [index for index, digest in enumerate(digests) if digest in vectors][:1]
        to_read = missing + cached
        batches = EvalBatches(
            split.subset(to_read),
            backbone.preprocess,
            batch=batch,
            workers=workers,
            max_unreadable=max_unreadable,
            quiet=quiet,
        )
        model = build_with_weights(backbone.weights).to(device)
        with progress(f"features of {Path(backbone.source).name}", len(batches.readable), quiet=quiet) as advance:
            for computed in _compute(model, batches, [digests[index] for index in to_read], device):
                _write_cache(folder, computed)
                vectors |= computed
                advance(len(computed))
        unreadable = batches.unreadable
    readable = [index for index, digest in enumerate(digests) if digest in vectors]
    return Features(np.stack([vectors[digests[index]] for index in readable]), split.labels[readable], unreadable)


def missing_features(backbone: Backbone, split: Split, device: torch.device) -> list[int]:
    """The indices of the images without features in the cache."""
    cached = _read_cache(backbone.cache(device))
    return [index for index, image in enumerate(split.images) if not cached or content_digest(image) not in cached]


def seconds_per_image(backbone: Backbone, split: Split, device: torch.device, *, batch: int) -> tuple[float, float]:
    """Measure the time to read an image in this process, and the time to compute its features.

    Uses one batch of images that are spread evenly over `split`; its features are not cached.
    """
    sample = split.subset(np.linspace(0, len(split) - 1, min(len(split), batch)).astype(int))
    start = perf_counter()
    batches = EvalBatches(sample, backbone.preprocess, batch=batch, max_unreadable=len(sample), quiet=True)
    read_seconds = perf_counter() - start
    model = build_with_weights(backbone.weights).to(device)
    compute_seconds = 0.0
    for _ in range(2):  # the first pass is a warm-up
        start = perf_counter()
        deque(_compute(model, batches, [content_digest(image) for image in sample.images], device), maxlen=0)
        compute_seconds = perf_counter() - start
    return read_seconds / len(sample), compute_seconds / len(batches.readable)


_Vectors = dict[bytes, Float32[np.ndarray, " channel"]]
"""Feature vectors by the digest of the image bytes."""


@torch.inference_mode()
def _compute(model: Model, batches: EvalBatches, digests: list[bytes], device: torch.device) -> Iterator[_Vectors]:
    """Yield the vectors in chunks of at least `_IMAGES_PER_FILE`, whole batches each."""
    chunk: _Vectors = {}
    for batch in batches:
        chunk |= _by_digest(batch, model.embed(batch.on(device)[0]), digests)
        if len(chunk) >= _IMAGES_PER_FILE:
            yield chunk
            chunk = {}
    if chunk:
        yield chunk


def _by_digest(batch: Batch, vectors: torch.Tensor, digests: list[bytes]) -> _Vectors:
    rows = vectors.numpy(force=True)
    return {digests[index]: row for index, row in zip(batch.indices, rows, strict=True)}


def _write_cache(folder: Path, vectors: _Vectors) -> None:
    digests = np.stack([np.frombuffer(digest, dtype=np.uint8) for digest in vectors])
    name = hashlib.blake2b(digests.tobytes(), digest_size=8).hexdigest()
    with atomic_file(folder / f"{name}.safetensors") as temporary:
        temporary.write_bytes(save({"digests": digests, "vectors": np.stack(list(vectors.values()))}))


def _read_cache(folder: Path) -> _Vectors:
    """All cached vectors of a folder; damaged files are ignored."""
    vectors: _Vectors = {}
    for file in folder.glob("*.safetensors"):
        try:
            arrays = load_file(file)
        except SafetensorError:
            continue
        vectors |= zip(map(bytes, arrays["digests"]), arrays["vectors"], strict=True)
    return vectors
