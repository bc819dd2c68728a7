"""A model in int8, if it is faster and about as accurate on validation images.

The model is quantised with training images, and its accuracy is compared with that in fp32 on validation images. The
first way of quantisation with a loss of at most 0.5 points is taken.

Axes:  image, channel, row, column  preprocessed images
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mixlab.data.batches import EvalBatches
from mixlab.data.dataset import Dataset, Split, content_digest
from mixlab.data.preprocess import Preprocess
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.evaluation.evaluation_data import open_evaluation_data, run_of, with_unseen_validation
from mixlab.files import WriteError, cache_folder, read_cached_json, write_json
from mixlab.measure.machine import device_name, versions
from mixlab.measure.timing import interleaved, speed_ratio
from mixlab.report.numbers import number
from mixlab.report.text import pluralize
from mixlab.runs.sources import code_digest
from mixlab.runs.store import store_key
from mixlab.speed.inference_plan import Forward
from mixlab.speed.int8 import BIAS_CORRECTIONS, quantize
from mixlab.speed.network_cache import cached_conversion, cached_network
from mixlab.speed.openvino import compile_openvino
from mixlab.weights.load import Pretrained, build_with_weights

if TYPE_CHECKING:
    import openvino

MAX_LOSS = 0.5
"""Points of top-1 accuracy that int8 may lose on the validation images."""

MAX_CALIBRATION, MAX_VALIDATION = 256, 1_000
"""Training images that the quantisation uses, and validation images that are compared, chosen at random."""

_MIN_SPEED_RATIO = 1.05
"""int8 is offered if it is at least so many times as fast as bf16."""

_BATCH = 16


Network = TypeVar("Network")


class Int8Runtime(Protocol[Network]):
    """A runtime that quantises and runs networks.

    name     of the runtime
    rival    the fastest other precision of the runtime, which int8 must beat
    methods  of quantisation, in the order in which they are tried
    """

    name: str
    rival: str
    methods: Sequence[str]

    def convert(self, pretrained: Pretrained, key: Mapping[str, Any]) -> Network:
        """The model in floating point, which `key` determines: it maps preprocessed images to logits."""
        ...

    def cached(self, key: Mapping[str, Any], build: Callable[[], Network]) -> Network:
        """The quantised network of a key, or of `build`."""
        ...

    def quantize(self, network: Network, images: Sequence[Tensor], method: str) -> Network:
        """A copy in int8. The images are preprocessed training images, in batches of one."""
        ...

    def compile(self, network: Network, precision: str) -> Forward:
        """A function that runs the network in "fp32", in the precision of `rival`, or in "int8"."""
        ...


@dataclass(frozen=True)
class Int8Check:
    """The comparison of int8 with the model in floating point.

    reference_top1  in fp32, in per cent
    top1            in int8, in per cent
    images          number of validation samples
    speed_ratio     samples/s in int8 relative to `rival`
    rival           a precision, see `Int8Runtime`
    method          of quantisation
    noun            what a sample is, for sentences
    """

    reference_top1: float
    top1: float
    images: int
    speed_ratio: float
    rival: str
    method: str
    noun: str = "image"

    @property
    def is_accurate(self) -> bool:
        return round(self.reference_top1 - self.top1, 9) <= MAX_LOSS

    def __str__(self) -> str:
        accuracies = f"{number(self.reference_top1, 1)} % in fp32 and {number(self.top1, 1)} % in int8"
        return (
            f"top-1 on {pluralize(self.images, f'validation {self.noun}')}: {accuracies}; {self.speed_ratio:.2f} times "
            f"as fast as {self.rival}"
        )


class OpenVinoInt8:
    """int8 in OpenVINO, quantised by NNCF. Networks are cached."""

    name, rival = "openvino", "bf16"
    methods: Sequence[str] = BIAS_CORRECTIONS

    def convert(self, pretrained: Pretrained, key: Mapping[str, Any]) -> "openvino.Model":
        model = build_with_weights(pretrained.weights)
        return cached_conversion(model, (3, *pretrained.image_preprocess.image_size), lambda: key)

    def cached(self, key: Mapping[str, Any], build: "Callable[[], openvino.Model]") -> "openvino.Model":
        return cached_network(key, build)

    def quantize(self, network: "openvino.Model", images: Sequence[Tensor], method: str) -> "openvino.Model":
        return quantize(network, images, "fast" if method == "fast" else "sequential")

    def compile(self, network: "openvino.Model", precision: str) -> Forward:
        return compile_openvino(network, "fp32" if precision == "fp32" else "bf16")


def int8_forward(pretrained: Pretrained, source: str | Path, data: str | None) -> tuple[Forward, Int8Check]:
    """A model in int8 in OpenVINO, and its comparison with fp32. The arguments and errors are those of `int8_network`.

    The model in int8 is cached.
    """
    runtime = OpenVinoInt8()
    network, check = int8_network(runtime, pretrained, source, data)
    return runtime.compile(network, "int8"), check


def int8_network(
    runtime: Int8Runtime[Network], pretrained: Pretrained, source: str | Path, data: str | None
) -> tuple[Network, Int8Check]:
    """A quantised network, and its comparison with fp32.

    source  of the weights; a run has images of its own
    data    the name of a data set with training and validation images, needed if `source` is not a run

    An accepted comparison is cached, for these weights, images and this machine.

    Raises UserError if there are no such images, if the packages of the runtime are not installed, or if the model in
    int8 is less accurate by more than 0.5 points, or not faster than in another precision of the runtime.
    """
    preprocess, dataset = pretrained.image_preprocess, _images(source, data, pretrained)
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    calibration = train.subset(train.sample_indices(MAX_CALIBRATION))
    compared = validation.subset(validation.sample_indices(MAX_VALIDATION))
    model_key = {**pretrained.weights.key, "outputs": "logits"}

    @cache
    def network() -> Network:
        return runtime.convert(pretrained, model_key)

    def quantized(method: str) -> Network:
        images = [image[None] for batch in _batches(calibration, preprocess) for image in batch]
        return runtime.quantize(network(), images, method)

    checks = []
    for method in runtime.methods:
        key = {
            "model": model_key,
            "preprocess": preprocess.to_dict(),
            "calibration": _digest(calibration),
            "bias_correction": method,
        }
        in_int8 = runtime.cached(key, partial(quantized, method))
        file = _check_file(
            {**key, "runtime": runtime.name, "validation": _digest(compared), "labels": compared.labels.tolist()}
        )
        check = _read_check(file)
        if check is None:
            check = compare_int8(runtime, network(), in_int8, compared, preprocess, method)
            if check.speed_ratio < _MIN_SPEED_RATIO:  # not cached, because other load may be the cause
                raise UserError(
                    f"int8 is not faster for {source} on this machine ({check}): leave out --precision int8."
                )
            with suppress(WriteError):  # without a cache, the next job compares again
                write_json(file, asdict(check))
        if check.is_accurate:
            return in_int8, check
        checks.append(check)
    best = max(checks, key=lambda check: check.top1)
    raise UserError(
        f"int8 loses more than {MAX_LOSS} points for {source} ({best}): leave out --precision int8, or give other "
        f"{preprocess.noun}s with --data."
    )


def compare_int8(
    runtime: Int8Runtime[Network],
    network: Network,
    quantized: Network,
    validation: Split,
    preprocess: Preprocess,
    method: str,
) -> Int8Check:
    """Compare accuracy and speed of a network in int8 with those in floating point on all images of `validation`."""
    labels = validation.labels
    images = list(_batches(validation, preprocess))
    fp32, rival = (runtime.compile(network, precision) for precision in ("fp32", runtime.rival))
    int8 = runtime.compile(quantized, "int8")
    reference_top1, top1 = (100 * float((_predictions(each, images) == labels).mean()) for each in (fp32, int8))
    seconds = interleaved({"rival": lambda: rival(images[0]), "int8": lambda: int8(images[0])}, warmup=1)
    ratio = speed_ratio(seconds["int8"], of=seconds["rival"]).value
    return Int8Check(reference_top1, top1, len(labels), ratio, runtime.rival, method, preprocess.noun)


def _images(source: str | Path, data: str | None, pretrained: Pretrained) -> Dataset:
    classes, noun = pretrained.classes, pretrained.image_preprocess.noun
    example = "audio:PATH" if noun == "sound" else "folder:PATH"
    if data is not None:
        dataset = open_dataset(data).relabelled(classes)
    elif run_of(str(source)) is not None:
        dataset = open_evaluation_data(str(source), None, classes).dataset
    else:
        raise UserError(
            f"int8 needs training {noun}s to calibrate {source} and validation {noun}s to compare it with fp32: give "
            f"them with --data, for example --data {example}."
        )
    dataset = with_unseen_validation(dataset, str(source), quiet=True)
    if "validation" not in dataset.splits:
        raise UserError(
            f"{source} was trained on the validation {noun}s of {dataset.name}, so int8 can't be compared with fp32: "
            f"give other {noun}s with --data, for example --data {example}."
        )
    return dataset


def _batches(split: Split, preprocess: Preprocess) -> Iterator[Float[Tensor, "image channel row column"]]:
    for batch in EvalBatches(split, preprocess, batch=_BATCH, quiet=True):
        yield batch.on("cpu")[0]


def _predictions(forward: Forward, images: Sequence[Tensor]) -> np.ndarray:
    return np.concatenate([forward(batch)[0].argmax(dim=1).numpy() for batch in images])


def _digest(split: Split) -> str:
    """SHA-256 of the content of all images, in hexadecimal."""
    return hashlib.sha256(b"".join(content_digest(image) for image in split.images)).hexdigest()


def _check_file(key: Mapping[str, Any]) -> Path:
    """The cache file of a comparison on this machine."""
    machine = {
        "device": device_name(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "code": code_digest(Path(__file__).read_text(encoding="utf-8")),  # `store_key` does not cover this folder
    }
    return cache_folder() / "int8" / f"{store_key({**key, 'machine': machine})}.json"


def _read_check(file: Path) -> Int8Check | None:
    """A cached comparison; None if it is missing or damaged."""
    stored = read_cached_json(file)
    return Int8Check(**stored) if stored else None
