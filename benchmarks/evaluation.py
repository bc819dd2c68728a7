"""What an evaluation costs: beside the bare forward loop, from saved logits, and in memory.

    python benchmarks/evaluation.py --out benchmarks/results/mine.json

- Loop: `mixlab.evaluation.evaluate` on synthetic images, and a loop that runs the same model on the same batches and
  adds up the correct predictions, interleaved.
- File: `evaluate_logits_file` for 50,000 images and 1,000 classes, with all figures of the report.
- Memory: the largest resident memory of a process that evaluates 50,000 images with 21,843 classes.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from mixlab.data.batches import EvalBatches
from mixlab.data.dataset import Split
from mixlab.data.preprocess import Preprocess
from mixlab.evaluation.evaluate import evaluate, predict_fn
from mixlab.evaluation.evaluation import EvaluationBuffer
from mixlab.evaluation.logits_evaluation import evaluate_logits_file
from mixlab.evaluation.logits_file import LogitsHeader, Rows, write_logits
from mixlab.evaluation.metrics import summary
from mixlab.evaluation.model_evaluation_page import model_evaluation_page
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.speed.inference import Inference
from mixlab.speed.plan import ComputeMode
from mixlab.zoo.architecture import architecture

CPU = torch.device("cpu")


def time_loops(model: nn.Module, images: int, side: int, classes: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of the bare forward loop and of `evaluate`, in each round; both read images that are in memory."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    split = Split([str(index) for index in range(images)], np.arange(images) % classes, list(pixels))
    preprocess, names = Preprocess((side, side)), tuple(map(str, range(classes)))
    predict = predict_fn(model, CPU, ComputeMode())

    def bare() -> None:
        correct = 0
        for batch in EvalBatches(split, preprocess, batch=64, quiet=True):
            correct += int((predict(batch).argmax(dim=1) == batch.labels).sum())

    def ours() -> None:
        evaluate(Inference(model, CPU), split, preprocess, names, batch=64)

    seconds: dict[str, list[float]] = {"bare loop": [], "evaluate": []}
    for _ in range(rounds + 1):
        for name, function in (("bare loop", bare), ("evaluate", ours)):
            start = perf_counter()
            function()
            seconds[name].append(perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}  # the first round is a warm-up


def time_file(images: int, classes: int, rounds: int) -> list[float]:
    """Seconds to evaluate a file of logits, with all figures of the report."""
    names = tuple(map(str, range(classes)))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "logits.parquet"
        write_logits(path, LogitsHeader("synthetic", "synthetic", "synthetic", "all", names), _rows(images, classes))
        seconds = []
        for _ in range(rounds):
            start = perf_counter()
            evaluated = evaluate_logits_file(str(path), None)
            evaluated.results()
            model_evaluation_page(evaluated).html()
            seconds.append(perf_counter() - start)
    return seconds


def _rows(images: int, classes: int) -> Iterator[Rows]:
    rng = np.random.default_rng(0)
    for start in range(0, images, 5_000):
        labels = rng.integers(0, classes, min(5_000, images - start))
        logits = rng.normal(size=(len(labels), classes)).astype(np.float32)
        logits[np.arange(len(labels)), labels] += 3
        yield "test", [f"image {start + index}" for index in range(len(labels))], labels, logits


def peak_bytes(images: int, classes: int) -> int:
    """The largest resident memory of a new process that scores logits of this size in batches of 64."""
    options = [sys.executable, __file__, "--memory", f"{images}x{classes}"]
    return int(subprocess.run(options, check=True, capture_output=True, text=True).stdout)


def _measure_memory(images: int, classes: int) -> int:
    generator = torch.Generator().manual_seed(0)
    buffer = EvaluationBuffer(tuple(map(str, range(classes))), images + 64)
    for _ in range(0, images, 64):
        labels = torch.randint(classes, (64,), generator=generator)
        buffer.add(torch.randn(64, classes, generator=generator), labels)
    evaluation = buffer.evaluation
    summary(evaluation)
    assert evaluation.confusion.nnz <= len(evaluation)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # in kibibytes on Linux


def main() -> None:
    parser = argparse.ArgumentParser(description="Time evaluations.")
    parser.add_argument("--model", default="mixer_s32")
    parser.add_argument("--images", type=int, default=512, help="of the loop")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--file-images", type=int, default=50_000)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    if arguments.memory:
        print(_measure_memory(*map(int, arguments.memory.split("x"))))
        return
    # First, because a process inherits the largest resident memory of the process that starts it.
    peak = peak_bytes(arguments.file_images, 21_843)
    built = architecture(arguments.model)
    side = built.image_size if isinstance(built.image_size, int) else built.image_size[0]
    loops = time_loops(built.build().eval(), arguments.images, side, built.classes, arguments.rounds)
    ratios = [ours / bare for ours, bare in zip(loops["evaluate"], loops["bare loop"], strict=True)]
    results: dict[str, Any] = {
        "date": date.today().isoformat(),
        "device": machine.device_name(CPU),
        "precision": "fp32",
        "model": arguments.model,
        "loop_seconds": loops,
        "file_seconds": time_file(arguments.file_images, 1_000, 3),
        "peak_bytes": peak,
    }
    print(f"evaluate / bare loop: {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), {arguments.model}")
    print(f"file of {arguments.file_images:,} x 1,000 logits: {min(results['file_seconds']):.1f} s, all figures")
    print(f"{arguments.file_images:,} images, 21,843 classes: {results['peak_bytes'] / 1e9:.2f} GB at most")
    if arguments.out:
        write_json(arguments.out, results)
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
