"""Speed of inference under mixlab's plan, compared with peers in the same run, and of features from image files.

    python benchmarks/inference.py throughput mixer_s32 --out benchmarks/results/mine.json
    python benchmarks/inference.py features mixer_s32 --data tar:photographs.tar --out benchmarks/results/mine.json

`throughput`: timm's model eager in fp32, compiled in bf16 and in OpenVINO in bf16, mixlab's model eager in fp32, and
under the plan that mixlab selects for 2,000 images. All take turns with the same batch of random images and have random
weights. The times of a job of 2,000 images are calculated from the speeds, with and without the time until an execution
is ready. OpenVINO's preparation is the conversion, which is the same for both; `later` jobs of mixlab find timings and
the converted model in the cache. The goal is a speed of at least 0.95 of the fastest peer's, without preparation.

`features`: the time of the features of all images of a data set, from the files to the vectors, under the stock plan
and under the selected one. The second one is repeated, because the plan of the first job is not in the cache. The goal
is three times the speed of the stock plan.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import openvino  # noqa: F401  not part of any preparation
import timm
import torch
from torch import nn

from mixlab.data.preprocess import Preprocess
from mixlab.data.sources import open_as_provided
from mixlab.data.splits import as_single_test_split
from mixlab.evaluation.probes.features import Backbone, features
from mixlab.files import cache_folder, write_json
from mixlab.measure import machine
from mixlab.measure.timing import interleaved, speed_ratio
from mixlab.models.contract import height_and_width
from mixlab.report.table import Column, Table, print_table
from mixlab.speed.allocator import retain_freed_memory
from mixlab.speed.inference import Inference
from mixlab.speed.inference_plan import Speed
from mixlab.speed.openvino import compile_openvino, to_openvino
from mixlab.weights.adapt import Weights
from mixlab.weights.timm_folder import TIMM_NAMES
from mixlab.zoo.architecture import Model, architecture, create_model

JOB = 2_000  # images
THROUGHPUT_GOAL, FEATURES_GOAL = 0.95, 3.0
CPU = torch.device("cpu")

Call = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("throughput", "features"))
    parser.add_argument("model", choices=sorted(TIMM_NAMES))
    parser.add_argument("--data", help="data set for `features`")
    parser.add_argument("--images", type=int, default=JOB, help="at most so many images for `features`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:  # empty caches
        os.environ["XDG_CACHE_HOME"] = folder
        if arguments.task == "throughput":
            result = throughput(arguments.model, arguments.rounds)
        else:
            result = feature_seconds(arguments.model, arguments.data, arguments.images)
    if arguments.out:
        content = {"date": date.today().isoformat(), "machine": machine.describe(CPU)}
        content |= {"task": arguments.task, "model": arguments.model} | result
        write_json(arguments.out, content | {"claims": claims(content)})


def random_model(name: str) -> Model:
    """A model with random weights whose head is not zero."""
    model = create_model(name).eval()
    nn.init.normal_(model.get_parameter("head.weight"), std=0.02)
    return model


def throughput(name: str, rounds: int) -> dict[str, Any]:
    retain_freed_memory()  # as `mixlab predict`; it holds for the peers, too
    model = random_model(name)
    side, _ = height_and_width(model.config.image_size)
    images = torch.randn(64, 3, side, side)
    lines: list[str] = []
    start = perf_counter()
    inference = Inference(model, CPU, speed="auto", key=lambda: {"model": name}, log=lines.append)
    inference.plan_for(images, JOB)
    preparations = {"mixlab": perf_counter() - start}
    start = perf_counter()
    Inference(model, CPU, speed="auto", key=lambda: {"model": name}).plan_for(images, JOB)
    later_preparation = perf_counter() - start
    images = images[: inference.plan.batch]
    calls: dict[str, Call] = {"mixlab, eager fp32": lambda: model(images), "mixlab": lambda: inference(images)}
    for peer, prepare in {
        "timm, eager fp32": lambda network: network,
        "timm, compiled bf16": lambda network: torch.compile(network.bfloat16()),
        "timm, OpenVINO bf16": lambda network: compile_openvino(to_openvino(network, images.shape[1:]), "bf16"),
    }.items():
        start = perf_counter()
        forward = prepare(timm.create_model(TIMM_NAMES[name]).eval())
        inputs = images.bfloat16() if "compiled" in peer else images
        with torch.inference_mode():
            forward(inputs)
        preparations[peer] = perf_counter() - start
        calls[peer] = lambda forward=forward, inputs=inputs: forward(inputs)
    with torch.inference_mode():
        seconds = interleaved(calls, rounds=rounds, warmup=1)
    per_image = {each: median(samples) / len(images) for each, samples in seconds.items()}
    job = {each: JOB * time + preparations.get(each, 0.0) for each, time in per_image.items()}
    peers = [each for each in calls if each.startswith("timm")]
    best_peer = min(peers, key=per_image.__getitem__)
    ratio = speed_ratio(seconds["mixlab"], of=seconds[best_peer])
    best_job = min(job[peer] for peer in peers)
    job_ratio, later_job_ratio = (
        best_job / (JOB * per_image["mixlab"] + preparation)
        for preparation in (preparations["mixlab"], later_preparation)
    )
    columns = [Column("name", name), Column("speed", "images/s", digits=1), Column("job", "2,000 images", "s", 1)]
    rows = [{"name": each, "speed": 1 / per_image[each], "job": job[each]} for each in calls]
    notes = [
        f"{lines[0] if lines else 'Stock plan.'} Best peer / mixlab: {ratio.value:.2f}, "
        f"whole job {job_ratio:.2f}, later ones {later_job_ratio:.2f}."
    ]
    print_table(Table(f"Inference of {name}, batch {len(images)}", columns, rows, notes))  # pyright: ignore[reportArgumentType]
    return {
        "batch": len(images),
        "plan": inference.plan.to_dict(),
        "seconds_per_batch": seconds,
        "preparation_seconds": preparations,
        "job_seconds": job,
        "best_peer": best_peer,
        "best_peer_ratio": asdict(ratio),
        "later_preparation_seconds": later_preparation,
        "first_job_ratio": job_ratio,
        "later_job_ratio": later_job_ratio,
    }


def feature_seconds(name: str, data: str, maximum: int) -> dict[str, Any]:
    split = as_single_test_split(open_as_provided(data)).splits["test"]
    split = split.subset(np.arange(min(len(split), maximum)))
    found = architecture(name)
    weights = Weights(found.family, found.config, random_model(name).state_dict())
    backbone = Backbone(name, weights, Preprocess(height_and_width(found.image_size)), weights.digest)
    speeds: dict[str, Speed] = {"stock": "off", "plan": "auto", "plan from the cache": "auto"}
    seconds: dict[str, float] = {}
    for title, speed in speeds.items():
        shutil.rmtree(cache_folder() / "features", ignore_errors=True)
        start = perf_counter()
        features(backbone, split, CPU, batch=64, speed=speed, quiet=True)
        seconds[title] = perf_counter() - start
        print(f"{name}, {len(split)} images, {title}: {seconds[title]:.1f} s", flush=True)
    return {
        "images": len(split),
        "seconds": seconds,
        "first_job_ratio": seconds["stock"] / seconds["plan"],
        "later_job_ratio": seconds["stock"] / seconds["plan from the cache"],
    }


def claims(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    model = content["model"]
    if content["task"] == "features":
        what = f"{model}, features of {content['images']:,} image files: images/s under the selected plan / stock fp32"
        jobs = {"first job": content["first_job_ratio"], "later jobs": content["later_job_ratio"]}
        return [{"claim": f"{what}, {job}", "value": ratio, "goal": FEATURES_GOAL} for job, ratio in jobs.items()]
    seconds = content["seconds_per_batch"]
    what = f"{model}, inference, batch {content['batch']}, {content['plan']['precision']}"
    job = f"{what}: seconds of the fastest peer / mixlab for {JOB:,} images and the preparation"
    return [
        {
            "claim": f"{what}: images/s of mixlab / the fastest peer ({content['best_peer']})",
            "value": content["best_peer_ratio"],
            "goal": THROUGHPUT_GOAL,
        },
        {
            "claim": f"{what}: images/s of mixlab / eager fp32",
            "value": asdict(speed_ratio(seconds["mixlab"], of=seconds["mixlab, eager fp32"])),
        },
        {"claim": f"{job}, first job", "value": content["first_job_ratio"]},
        {"claim": f"{job}, later jobs", "value": content["later_job_ratio"]},
    ]


if __name__ == "__main__":
    main()
