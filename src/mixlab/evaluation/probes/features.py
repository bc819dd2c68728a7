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
from torch import Tensor

from mixlab.data.batches import Batch, EvalBatches
from mixlab.data.dataset import Split, content_digest
from mixlab.data.preprocess import Preprocess
from mixlab.files import atomic_file, cache_folder
from mixlab.models.contract import ImageSize
from mixlab.report.progress import progress
from mixlab.runs.store import store_key
from mixlab.speed.inference import Inference
from mixlab.speed.inference_plan import Speed
from mixlab.speed.plan import Precision
from mixlab.weights.adapt import Resize, Weights
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.zoo.architecture import Embed

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

    def cache(self, device: torch.device, precision: Precision = "fp32") -> Path:
        """The cache folder for these weights, this preprocessing, type of device, precision and version of torch."""
        key = {
            **self.weights.key,
            "preprocess": self.preprocess.to_dict(),
            "device": device.type,
            "precision": precision,
            "torch": torch.__version__,
        }
        return cache_folder() / "features" / store_key(key)


@dataclass(frozen=True, eq=False)
class Features:
    """The feature vectors and class indices of the readable images.

    unreadable  the reason why an image was skipped, by its name
    noun        what a sample is, for sentences
    """

    values: Float32[np.ndarray, "image channel"]
    labels: Int64[np.ndarray, " image"]
    unreadable: dict[str, str]
    noun: str = "image"


def open_backbone(source: str | Path, image_size: ImageSize | None = None, *, resize: Resize | None = None) -> Backbone:
    """Open weights as a backbone.

    source      any source that `mixlab.load` accepts
    image_size  input size in pixels; None: that of the weights
    resize      how a Mixer's token MLPs are resized, as for `mixlab.load`

    Images are resized with bilinear interpolation, whatever interpolation the weights were trained with.

    Raises UserError if the weights cannot be loaded.
    """
    opened = load_pretrained(source, image_size=image_size, resize=resize)
    preprocess = replace(opened.image_preprocess, interpolation="bilinear")
    return Backbone(str(source), opened.weights, preprocess, opened.source_digest)


def features(
    backbone: Backbone,
    split: Split,
    device: torch.device,
    *,
    batch: int,
    workers: int = 0,
    max_unreadable: int = 0,
    speed: Speed = "auto",
    quiet: bool = False,
) -> Features:
    """The feature vector of every readable image; cached features are not computed again.

    All of them are computed in the precision of one plan. Precisions have separate caches.

    batch           images per forward pass
    workers         processes that read images
    max_unreadable  how many unreadable images are skipped
    speed           "off": eager in fp32
    quiet           no progress bar

    Raises UserError if more images are unreadable, or if no image is readable.
    """
    digests = [content_digest(image) for image in split.images]
    vectors = _fullest_cache(backbone, device, digests, speed)
    unreadable: dict[str, str] = {}

    if any(digest not in vectors for digest in digests):
        settings = {"batch": batch, "workers": workers, "max_unreadable": max_unreadable, "quiet": quiet}
        to_read = _to_read(digests, vectors)
        batches = EvalBatches(split.subset(to_read), backbone.preprocess, **settings)
        inference = _inference(backbone, device, speed)
        inference.plan_for(next(iter(batches)).on(device)[0], len(split))
        folder = backbone.cache(device, inference.plan.mode.precision)
        cached = _read_cache(folder)
        if cached.keys() != vectors.keys():
            vectors, to_read = cached, _to_read(digests, cached)
            batches = EvalBatches(split.subset(to_read), backbone.preprocess, **settings)
        with progress(f"features of {Path(backbone.source).name}", len(batches.readable), quiet=quiet) as advance:
            for computed in _compute(inference, batches, [digests[index] for index in to_read]):
                _write_cache(folder, computed)
                vectors |= computed
                advance(len(computed))
        unreadable = batches.unreadable
    readable = [index for index, digest in enumerate(digests) if digest in vectors]
    values = np.stack([vectors[digests[index]] for index in readable])
    return Features(values, split.labels[readable], unreadable, backbone.preprocess.noun)


def missing_features(backbone: Backbone, split: Split, device: torch.device) -> list[int]:
    """The indices of the images without features in the cache."""
    digests = [content_digest(image) for image in split.images]
    cached = _fullest_cache(backbone, device, digests, "auto")
    return [index for index, digest in enumerate(digests) if digest not in cached]


def seconds_per_image(backbone: Backbone, split: Split, device: torch.device, *, batch: int) -> tuple[float, float]:
    """Measure the time to read an image in this process, and the time to compute its features.

    Uses one batch of images that are spread evenly over `split`; its features are not cached.
    """
    sample = split.subset(np.linspace(0, len(split) - 1, min(len(split), batch)).astype(int))
    start = perf_counter()
    batches = EvalBatches(sample, backbone.preprocess, batch=batch, max_unreadable=len(sample), quiet=True)
    read_seconds = perf_counter() - start
    inference = _inference(backbone, device, "auto")
    inference.plan_for(next(iter(batches)).on(device)[0], len(split))
    compute_seconds = 0.0
    for _ in range(2):  # the first pass is a warm-up
        start = perf_counter()
        deque(_compute(inference, batches, [content_digest(image) for image in sample.images]), maxlen=0)
        compute_seconds = perf_counter() - start
    return read_seconds / len(sample), compute_seconds / len(batches.readable)


_Vectors = dict[bytes, Float32[np.ndarray, " channel"]]
"""Feature vectors by the digest of the image bytes."""


def _inference(backbone: Backbone, device: torch.device, speed: Speed) -> Inference:
    network = Embed(build_with_weights(backbone.weights))
    return Inference(network, device, speed=speed, key=lambda: {**backbone.weights.key, "outputs": "embeddings"})


def _to_read(digests: list[bytes], vectors: _Vectors) -> list[int]:
    """The indices of the images without vectors, and of one with a vector.

    `EvalBatches` raises an error if no image is readable.
    """
    missing = [index for index, digest in enumerate(digests) if digest not in vectors]
    return missing + [index for index, digest in enumerate(digests) if digest in vectors][:1]


def _fullest_cache(backbone: Backbone, device: torch.device, digests: list[bytes], speed: Speed) -> _Vectors:
    """The cached vectors in the precision with most of the images; in fp32 for `speed="off"`."""
    precisions: tuple[Precision, ...] = ("fp32",) if speed == "off" else ("fp32", "bf16")
    caches = [_read_cache(backbone.cache(device, precision)) for precision in precisions]
    return max(caches, key=lambda vectors: sum(digest in vectors for digest in digests))


def _compute(inference: Inference, batches: EvalBatches, digests: list[bytes]) -> Iterator[_Vectors]:
    """Yield the vectors in chunks of at least `_IMAGES_PER_FILE`, whole batches each."""
    chunk: _Vectors = {}
    for batch in batches:
        (vectors,) = inference(batch.on(inference.device)[0])
        chunk |= _by_digest(batch, vectors, digests)
        if len(chunk) >= _IMAGES_PER_FILE:
            yield chunk
            chunk = {}
    if chunk:
        yield chunk


def _by_digest(batch: Batch, vectors: Tensor, digests: list[bytes]) -> _Vectors:
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
