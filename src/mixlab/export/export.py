"""`export_model`: writes a model as a folder that other programs can use, after it has been compared with mixlab."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

import mixlab
from mixlab.data.dataset import Split
from mixlab.data.image_file import ReadableFile
from mixlab.data.preprocess import Preprocess
from mixlab.data.readers.extras import needs_extra
from mixlab.errors import UserError
from mixlab.evaluation.evaluation_data import run_of
from mixlab.evaluation.training_images import training_images_of
from mixlab.export import standalone_predict
from mixlab.export.check_images import check_images
from mixlab.export.onnx_model import OnnxPrecision, onnx_network, with_preprocessing
from mixlab.export.parity import TOLERANCES, compare_answers
from mixlab.files import atomic_folder, write_json
from mixlab.measure.machine import device_name, versions
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.measure.timing import interleaved
from mixlab.models.contract import ImageSize
from mixlab.prediction.patches import patch_size
from mixlab.runs.folder import Run
from mixlab.weights.classifier import require_classification
from mixlab.weights.exported import CARD, FORMAT, MODEL, READER, onnx_session
from mixlab.weights.load import Pretrained, build_with_weights, load_pretrained

MAX_BYTES = 2**31 - 1
"""The size of an ONNX file in one piece."""

_TIMED_SIZE, _TIMED_BATCH = (480, 640), 8
"""Rows and columns of the image whose latency is measured, and the resized images of a batch."""


def export_model(
    source: str | Path,
    out: Path,
    *,
    precision: OnnxPrecision = "fp32",
    image_size: ImageSize | None = None,
    check: Sequence[Split] = (),
    log: Callable[[str], None],
) -> None:
    """Export a model to ONNX.

    source      as for `mixlab.load`
    out         the folder to write, which must not exist
    precision   of the network
    image_size  of the model, in pixels; None: that of the weights
    check       splits with images on which the exported model is also compared with mixlab
    log         called with the result of the comparison, and with the measured speed

    The folder has the graph, predict.py, card.json and, if they are known, the digests of the training images. Raises
    UserError if the model has no head or is too large, or if the exported model gives other answers. Nothing is written
    then.
    """
    pretrained = load_pretrained(source, image_size=image_size)
    require_classification(pretrained.task, source, "be exported")
    if not pretrained.classes:
        raise UserError(f"{source} has no head, so it can't answer: give a model with classes.")
    if sum(tensor.nbytes for tensor in pretrained.weights.tensors.values()) > MAX_BYTES:
        raise UserError(f"{source} has more than 2 GB of weights, too many for an ONNX file: export a smaller model.")
    files = files_to_compare(check)
    preprocess = pretrained.preprocess
    learned = training_images_of(source)
    metadata = _metadata(source, pretrained)
    with atomic_folder(out) as folder:
        network = onnx_network(build_with_weights(pretrained.weights.clone()), preprocess, precision)
        whole = with_preprocessing(network, preprocess, _as_text(metadata))
        content = whole.SerializeToString()
        (folder / MODEL).write_bytes(content)
        (folder / READER).write_text(Path(standalone_predict.__file__).read_text(encoding="utf-8"), encoding="utf-8")
        session = onnx_session(content)

        def run(images: np.ndarray) -> np.ndarray:
            return session.run(["probabilities"], {"images": images})[0]

        model = build_with_weights(pretrained.weights)
        parity = compare_answers(files, model, preprocess, folder / READER, run, TOLERANCES[precision])
        log(f"{parity}.")
        speed = _speed(model, preprocess, session)
        log(
            f"One image of {_TIMED_SIZE[1]} x {_TIMED_SIZE[0]} pixels: {speed['milliseconds']['exported']:.3g} ms, in "
            f"PyTorch {speed['milliseconds']['pytorch']:.3g} ms."
        )
        card = {
            "format": FORMAT,
            **metadata,
            "precision": precision,
            "opset": whole.opset_import[0].version,
            "has_class_names": pretrained.has_class_names,
            "parameters": count_parameters(model),
            "macs": count_macs(model, (3, *preprocess.image_size)),
            "patch_size": patch_size(model),
            "sha256": hashlib.sha256(content).hexdigest(),
            "parity": parity.to_dict(),
            "speed": speed,
            "versions": versions() | _runtime_versions(),
        }
        write_json(folder / CARD, card)
        if not learned.unknown:
            replace(learned, hashes=None).write(Run(folder).training_images)  # a hash has a thumbnail of its image


def _metadata(source: str | Path, pretrained: Pretrained) -> dict[str, Any]:
    """What a program needs to know about the model, without local paths."""
    return {
        "model": model_name(source),
        "classes": list(pretrained.classes),
        "preprocess": pretrained.preprocess.to_dict(),
        "weights": pretrained.source_digest,
        "mixlab": mixlab.__version__,
    }


def model_name(source: str | Path) -> str:
    """The name of the model of a run, or of weights, without a local path."""
    run = run_of(str(source))
    return run.config["model"] if run else Path(source).name


def _as_text(metadata: dict[str, Any]) -> dict[str, str]:
    """The metadata of an ONNX file: lists and tables as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }


def files_to_compare(check: Sequence[Split]) -> Iterable[tuple[str, bytes]]:
    """The names and contents of unusual image files, and of those of splits.

    Raises UserError if an image of a split is not a file.
    """
    files: list[tuple[str, ReadableFile]] = []
    for split in check:
        for name, image in zip(split.names, split.images, strict=True):
            if isinstance(image, np.ndarray):
                raise UserError(f"{name} is not a file: give --check images in files, for example folder:PATH.")
            files.append((name, image))
    return chain(check_images().items(), ((name, file.read_bytes()) for name, file in files))


def _speed(model: nn.Module, preprocess: Preprocess, session: Any) -> dict[str, Any]:
    """Median times of PyTorch, eager in fp32, and of the exported model, measured in turn on this machine's CPU."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*_TIMED_SIZE, 3), dtype=np.uint8)
    batch = rng.integers(0, 256, (_TIMED_BATCH, *preprocess.image_size, 3), dtype=np.uint8)
    inputs = {"images": batch, "is_resized": np.ones((), dtype=bool)}

    @torch.inference_mode()
    def classify_batch() -> object:
        return model(preprocess.finished(torch.from_numpy(batch).permute(0, 3, 1, 2))).softmax(dim=1)

    @torch.inference_mode()
    def classify_image() -> object:
        return model(preprocess(image)[None]).softmax(dim=1)

    names = ["probabilities"]
    calls: dict[str, Callable[[], object]] = {
        "pytorch image": classify_image,
        "exported image": lambda: session.run(names, {"images": image[None]}),
        "pytorch batch": classify_batch,
        "exported batch": lambda: session.run(names, inputs),
    }
    seconds = {name: median(times) for name, times in interleaved(calls, rounds=5, sample_seconds=0.0).items()}
    return {
        "device": device_name(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "image": list(_TIMED_SIZE),
        "batch": _TIMED_BATCH,
        "milliseconds": {name: 1000 * seconds[f"{name} image"] for name in ("pytorch", "exported")},
        "images_per_second": {name: _TIMED_BATCH / seconds[f"{name} batch"] for name in ("pytorch", "exported")},
    }


def _runtime_versions() -> dict[str, str]:
    with needs_extra("ONNX", "deploy"):
        import onnx
        import onnxruntime
    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
