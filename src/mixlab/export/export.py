"""`export_model`: writes a model as a folder that other programs can use, after it has been compared with mixlab."""

import runpy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import nn

import mixlab
from mixlab.data.dataset import Split
from mixlab.data.image_file import ReadableFile
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.evaluation.evaluation_data import run_of
from mixlab.evaluation.training_images import training_images_of
from mixlab.export.check_images import check_images
from mixlab.export.model_formats import MODEL_FORMATS, reader_text, require_precision
from mixlab.export.parity import TOLERANCES, compare_answers
from mixlab.export.writer import Precision, Request
from mixlab.files import atomic_folder, write_json, write_text
from mixlab.measure.machine import device_name, versions
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.measure.timing import interleaved
from mixlab.models.contract import ImageSize
from mixlab.prediction.patches import patch_size
from mixlab.report.progress import Log
from mixlab.runs.folder import Run
from mixlab.weights.classifier import require_classification, require_no_sounds
from mixlab.weights.exported import CARD, EXPORTED_FORMATS, FORMAT, READER, FormatName, digest_of_contents
from mixlab.weights.exported_sessions import Session
from mixlab.weights.load import Pretrained, build_with_weights, load_pretrained
from mixlab.weights.source import public_model
from mixlab.zoo.user_code import trust_code

_TIMED_SIZE, _TIMED_BATCH = (480, 640), 8
"""Rows and columns of the image whose latency is measured, and the resized images of a batch."""

_ClassifyImage = Callable[[UInt8[np.ndarray, "row column 3"]], Float[np.ndarray, " class"]]
"""Maps a decoded image to probabilities."""


def export_model(
    source: str | Path,
    out: Path,
    *,
    to: FormatName = "onnx",
    precision: Precision = "fp32",
    image_size: ImageSize | None = None,
    data: str | None = None,
    check: Sequence[Split] = (),
    log: Log,
) -> None:
    """Export a model.

    source      as for `mixlab.load`
    out         the folder to write, which must not exist
    to          the file format
    precision   of the network
    image_size  of the model, in pixels; None: that of the weights
    data        for int8: the name of a data set with training and validation images; None: that of the run
    check       splits with images on which the exported model is also compared with mixlab
    log         called with the result of the comparison, and with the measured speed

    The folder has the model, predict.py, card.json and, if they are known, the digests of the training images. Raises
    UserError if the format can't have the precision, if the model has no head or is too large, if int8 is not faster or
    less accurate, or if the exported model gives other answers. Nothing is written then.
    """
    require_precision(to, precision)
    pretrained = load_to_export(source, image_size)
    files = files_to_compare(check)
    preprocess = pretrained.image_preprocess
    learned = training_images_of(source)
    metadata = _metadata(source, pretrained)
    request = Request(source, pretrained, build_with_weights(pretrained.weights), precision, data, metadata)
    with atomic_folder(out) as folder:
        written = MODEL_FORMATS[to].write(folder, request)
        write_text(folder / READER, reader_text(to))
        contents = [(folder / name).read_bytes() for name in EXPORTED_FORMATS[to].files]
        card = {
            "format": FORMAT,
            "runtime": to,
            **metadata,
            "precision": precision,
            "has_class_names": pretrained.has_class_names,
            "parameters": count_parameters(request.model),
            "macs": count_macs(request.model, (3, *preprocess.image_size)),
            "patch_size": patch_size(request.model),
            "sha256": digest_of_contents(contents),
            "versions": {**versions(), **written.versions},
            **written.details,
        }
        reader = runpy.run_path(str(folder / READER))
        classify: _ClassifyImage = reader["open_model"](folder, card, torch.get_num_threads())

        def answer(content: bytes) -> Float[np.ndarray, " class"]:
            return classify(reader["decode"](BytesIO(content), preprocess.value_range))

        parity = compare_answers(files, written.reference, preprocess, answer, TOLERANCES[precision])
        log(f"{parity}.")
        session = EXPORTED_FORMATS[to].open(contents, precision)
        speed = _speed(request.model, preprocess, classify, session)
        log(
            f"One image of {_TIMED_SIZE[1]} x {_TIMED_SIZE[0]} pixels: {speed['milliseconds']['exported']:.3g} ms, in "
            f"PyTorch {speed['milliseconds']['pytorch']:.3g} ms."
        )
        write_json(folder / CARD, card | {"parity": parity.to_dict(), "speed": speed})
        if not learned.unknown:
            replace(learned, hashes=None).write(Run(folder).training_images)  # a hash has a thumbnail of its image
    if EXPORTED_FORMATS[to].runs_code:
        trust_code(out / EXPORTED_FORMATS[to].files[0])


def load_to_export(source: str | Path, image_size: ImageSize | None) -> Pretrained:
    """Load weights with one class per image.

    source      as for `mixlab.load`
    image_size  of the model, in pixels; None: that of the weights

    Raises UserError if they have no head, are of another task, or are for sounds.
    """
    pretrained = load_pretrained(source, image_size=image_size)
    require_classification(pretrained.task, source, "be exported")
    require_no_sounds(pretrained.image_preprocess, source, "be exported")
    if not pretrained.classes:
        raise UserError(f"{source} has no head, so it can't predict labels: give a model with classes.")
    return pretrained


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
    return public_model(run.config["model"] if run else str(source))


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


def _speed(model: nn.Module, preprocess: Preprocess, classify: _ClassifyImage, session: Session) -> dict[str, Any]:
    """Median times of PyTorch, eager in fp32, and of the exported model, measured in turn on this machine's CPU."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*_TIMED_SIZE, 3), dtype=np.uint8)
    batch = torch.from_numpy(rng.integers(0, 256, (_TIMED_BATCH, *preprocess.image_size, 3), dtype=np.uint8))

    @torch.inference_mode()
    def batch_in_pytorch() -> object:
        return model(preprocess.finished(batch.permute(0, 3, 1, 2)))

    @torch.inference_mode()
    def batch_exported() -> object:
        return session(batch)

    @torch.inference_mode()
    def image_in_pytorch() -> object:
        return model(preprocess(image)[None]).softmax(dim=1)

    calls: dict[str, Callable[[], object]] = {
        "pytorch image": image_in_pytorch,
        "exported image": lambda: classify(image),
        "pytorch batch": batch_in_pytorch,
        "exported batch": batch_exported,
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
