"""Accuracy of bf16 and of int8 after training, for each way of quantisation, and speed of int8 relative to bf16.

    python benchmarks/int8.py accuracy RUN... --out benchmarks/results/mine.json
    python benchmarks/int8.py speed mixer_b16 convmixer_768_32 --out benchmarks/results/mine.json

`accuracy`: finished runs, calibrated with 256 of their training images and evaluated on at most `--images` of their
test images, in every way beside eager fp32. The runs of one model and data set are trainings with different seeds. The
intervals of the differences are over the images, for the mean of these trainings. A way of int8 is accepted if
`mixlab predict --precision int8` finds it accurate enough on the validation images of the run; its speed is not
considered. `speed`: models with random weights, calibrated with random images, interleaved with bf16. The goal is 1.3
times the speed of bf16.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from statistics import fmean, median
from typing import Any

import nncf
import numpy as np
import torch
from scipy.stats import t
from torch import Tensor, nn

from mixlab.data.sources import open_dataset
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import interleaved, speed_ratio
from mixlab.models.contract import height_and_width
from mixlab.prediction import int8
from mixlab.runs.folder import open_run
from mixlab.speed.inference_plan import STOCK, Forward, InferencePlan, build_forward
from mixlab.speed.int8 import quantize
from mixlab.speed.openvino import compile_openvino, to_openvino
from mixlab.speed.plan import ComputeMode
from mixlab.stats.crossed import image_differences
from mixlab.stats.estimate import TAIL, Estimate
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.zoo.architecture import create_model

SPEED_GOAL = 1.3

Quantize = Callable[[Any, list[Tensor]], Any]


def smooth_quant(network: Any, images: list[Tensor]) -> Any:
    dataset = nncf.Dataset([image.numpy() for image in images])
    return nncf.quantize(network, dataset, subset_size=len(images), model_type=nncf.ModelType.TRANSFORMER)


QUANTIZATIONS: dict[str, Quantize] = {
    "int8, fast bias correction": lambda network, images: quantize(network, images, "fast"),
    "int8, sequential bias correction": lambda network, images: quantize(network, images, "sequential"),
    "int8, SmoothQuant": smooth_quant,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("accuracy", "speed"))
    parser.add_argument("sources", nargs="+", help="runs for `accuracy`, names of models for `speed`")
    parser.add_argument("--images", type=int, default=10_000, help="at most so many test images")
    parser.add_argument("--out", type=Path, help="write all numbers to this JSON file")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    environment = {"date": date.today().isoformat(), "machine": machine.describe(torch.device("cpu"))}
    if arguments.task == "accuracy":
        trainings = [compare_executions(source, arguments.images) for source in arguments.sources]
        result = {"kind": "accuracy of executions", "results": summaries(trainings), "runs": trainings}
        for training in trainings:
            del training["correct"]
    else:
        results = [speed(source) for source in arguments.sources]
        result = {"claims": claims(results), "results": results}
    if arguments.out:
        write_json(arguments.out, environment | {"task": arguments.task} | result)


def compare_executions(source: str, maximum: int) -> dict[str, Any]:
    """One training in every way, on the same test images."""
    pretrained, run = load_pretrained(source), open_run(Path(source))
    preprocess = pretrained.image_preprocess
    dataset = open_dataset(run.recipe["data"], quiet=True).relabelled(pretrained.classes)
    train, validation, test = (
        split.subset(split.sample_indices(number))
        for split, number in (
            (dataset.splits["train"], int8.MAX_CALIBRATION),
            (dataset.splits["validation"], int8.MAX_VALIDATION),
            (dataset.splits["test"], maximum),
        )
    )
    model = build_with_weights(pretrained.weights)
    shape = (3, *preprocess.image_size)
    network = to_openvino(model, shape)
    calibration = [image[None] for batch in int8._batches(train, preprocess) for image in batch]
    images = list(int8._batches(test, preprocess))
    forwards: dict[str, Forward] = {
        "fp32": build_forward(model, STOCK, shape),
        "bf16": build_forward(model, InferencePlan(mode=ComputeMode("bf16")), shape),
        "OpenVINO, bf16": compile_openvino(network, "bf16"),
    }
    runtime, accepted, failed = int8.OpenVinoInt8(), {}, {}
    for name, apply in QUANTIZATIONS.items():
        quantized = apply(network, calibration)
        try:
            forwards[name] = compile_openvino(quantized, "bf16")
        except RuntimeError as error:  # an operator that OpenVINO does not have in int8
            failed[name] = str(error).strip().splitlines()[-1]
            continue
        accepted[name] = int8.compare_int8(runtime, network, quantized, validation, preprocess, name).is_accurate
    with torch.inference_mode():
        logits = {name: torch.cat([forward(batch)[0] for batch in images]) for name, forward in forwards.items()}
    reference = logits["fp32"]
    executions = {
        name: {
            "top1": 100 * float(np.mean(found.argmax(1).numpy() == test.labels)),
            "changed": 100 * float((found.argmax(1) != reference.argmax(1)).float().mean()),
            "largest_difference": float((found - reference).abs().max() / reference.std()),
            "accepted": accepted.get(name),
        }
        for name, found in logits.items()
    }
    print(source, {name: [round(value or 0, 2) for value in each.values()] for name, each in executions.items()})
    return {
        "model": run.config["model"],
        "data": dataset.name.partition(":")[0],
        "seed": run.recipe["seed"],
        "training_images": len(dataset.splits["train"]),
        "images": len(test),
        "validation_images": len(validation),
        "executions": executions,
        "failed": failed,
        "correct": {name: found.argmax(1).numpy() == test.labels for name, found in logits.items()},
    }


def summaries(trainings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each model, data set and way: means over the trainings, and the difference from fp32 in points."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for training in trainings:
        groups.setdefault((training["model"], training["data"]), []).append(training)
    return [
        {
            "model": model,
            "data": data,
            "trainings": len(group),
            "images": group[0]["images"],
            "execution": name,
            "top1": fmean(training["executions"][name]["top1"] for training in group),
            "difference": None if name == "fp32" else asdict(difference(group, name)),
            "changed": fmean(training["executions"][name]["changed"] for training in group),
            "largest_difference": max(training["executions"][name]["largest_difference"] for training in group),
            "accepted": sum(training["executions"][name]["accepted"] for training in group)
            if name in QUANTIZATIONS
            else None,
        }
        for (model, data), group in groups.items()
        for name in group[0]["executions"]
    ]


def difference(group: Sequence[Mapping[str, Any]], name: str) -> Estimate:
    """The mean difference of the accuracies, in points, with an interval over the images."""
    found, reference = (np.array([training["correct"][each] for training in group]) for each in (name, "fp32"))
    value = 100 * float(found.mean() - reference.mean())
    sample = image_differences(found, reference)
    width = 100 * float(t.ppf(1 - TAIL, sample.degrees_of_freedom)) * sample.variance**0.5
    return Estimate(value, value - width, value + width, found.shape[1], "points")


def speed(name: str) -> dict[str, Any]:
    model = create_model(name).eval()
    nn.init.normal_(model.get_parameter("head.weight"), std=0.02)
    side, _ = height_and_width(model.config.image_size)
    network = to_openvino(model, (3, side, side))
    quantized = quantize(network, [torch.randn(1, 3, side, side) for _ in range(4)])
    images = torch.randn(8, 3, side, side)
    bf16, in_int8 = compile_openvino(network, "bf16"), compile_openvino(quantized, "bf16")
    seconds = interleaved({"bf16": lambda: bf16(images), "int8": lambda: in_int8(images)}, rounds=7, warmup=1)
    ratio = speed_ratio(seconds["int8"], of=seconds["bf16"])
    images_per_second = len(images) / median(seconds["int8"])
    print(f"{name}: int8 is {ratio.value:.2f} times as fast as bf16, {images_per_second:.1f} images/s")
    return {"model": name, "batch": len(images), "seconds_per_batch": seconds, "ratio": asdict(ratio)}


def claims(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "claim": f"{result['model']}, inference, batch {result['batch']}, OpenVINO: images/s in int8 / in bf16",
            "value": result["ratio"],
            "goal": SPEED_GOAL,
        }
        for result in results
    ]


if __name__ == "__main__":
    main()
