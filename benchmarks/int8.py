"""Accuracy of int8 after training, for each way of quantisation, and speed of int8 relative to bf16.

    python benchmarks/int8.py accuracy RUN... --out benchmarks/results/mine.json
    python benchmarks/int8.py speed mixer_b16 convmixer_768_32 --out benchmarks/results/mine.json

`accuracy`: finished runs, calibrated with 256 of their training images and evaluated on at most `--images` of their
test images. `speed`: models with random weights, calibrated with random images, interleaved with bf16.
"""

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import nncf
import numpy as np
import torch
from torch import Tensor, nn

from mixlab.data.sources import open_dataset
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import interleaved
from mixlab.models.contract import height_and_width
from mixlab.prediction import int8
from mixlab.runs.folder import open_run
from mixlab.speed.int8 import quantize
from mixlab.speed.openvino import compile_openvino, to_openvino
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.zoo.architecture import create_model

Quantize = Callable[[Any, list[Tensor]], Any]


def smooth_quant(network: Any, images: list[Tensor]) -> Any:
    dataset = nncf.Dataset([image.numpy() for image in images])
    return nncf.quantize(network, dataset, subset_size=len(images), model_type=nncf.ModelType.TRANSFORMER)


KINDS: dict[str, Quantize] = {
    "fast bias correction": lambda network, images: quantize(network, images, "fast"),
    "sequential bias correction": lambda network, images: quantize(network, images, "sequential"),
    "SmoothQuant, fast bias correction": smooth_quant,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("accuracy", "speed"))
    parser.add_argument("sources", nargs="+", help="runs for `accuracy`, names of models for `speed`")
    parser.add_argument("--images", type=int, default=10_000, help="at most so many test images")
    parser.add_argument("--out", type=Path, help="write all numbers to this JSON file")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    results = [
        accuracy(source, arguments.images) if arguments.task == "accuracy" else speed(source)
        for source in arguments.sources
    ]
    if arguments.out:
        environment = machine.describe(torch.device("cpu"))
        write_json(
            arguments.out,
            {"date": date.today().isoformat(), "machine": environment, "task": arguments.task, "results": results},
        )


def accuracy(source: str, maximum: int) -> dict[str, Any]:
    pretrained, run = load_pretrained(source), open_run(Path(source))
    dataset = open_dataset(run.recipe["data"]).relabelled(pretrained.classes)
    network = to_openvino(build_with_weights(pretrained.weights).eval(), (3, *pretrained.preprocess.image_size))
    chosen = int8._batches(dataset.splits["train"], pretrained.preprocess, int8.MAX_CALIBRATION)
    calibration = [image[None] for batch in chosen for image in batch]
    test = dataset.splits["test"]
    images = list(int8._batches(test, pretrained.preprocess, maximum))
    labels = test.labels[int8._sample(test, maximum)]

    def top1(each: Any, precision: Any) -> float:
        return 100 * float(np.mean(int8._predictions(compile_openvino(each, precision), images) == labels))

    found = {"fp32": top1(network, "fp32"), "bf16": top1(network, "bf16")}
    found |= {kind: top1(apply(network, calibration), "bf16") for kind, apply in KINDS.items()}
    print(Path(source).name, len(labels), {kind: round(value, 2) for kind, value in found.items()}, flush=True)
    model = run.config["model"]
    return {"model": model, "data": dataset.name, "seed": run.recipe["seed"], "images": len(labels), "top1": found}


def speed(name: str) -> dict[str, Any]:
    model = create_model(name).eval()
    nn.init.normal_(model.get_parameter("head.weight"), std=0.02)
    side, _ = height_and_width(model.config.image_size)
    network = to_openvino(model, (3, side, side))
    quantized = quantize(network, [torch.randn(1, 3, side, side) for _ in range(4)])
    images = torch.randn(8, 3, side, side)
    bf16, in_int8 = compile_openvino(network, "bf16"), compile_openvino(quantized, "bf16")
    seconds = interleaved({"bf16": lambda: bf16(images), "int8": lambda: in_int8(images)}, rounds=7, warmup=1)
    ratio = median(one / other for one, other in zip(seconds["bf16"], seconds["int8"], strict=True))
    print(f"{name}: int8 is {ratio:.2f} times as fast as bf16, {len(images) / median(seconds['int8']):.1f} images/s")
    return {"model": name, "batch": len(images), "seconds_per_batch": seconds, "ratio": ratio}


if __name__ == "__main__":
    main()
