"""`mixlab predict` and `mixlab evaluate` as whole commands, beside scripts with timm that do the same.

    python benchmarks/commands.py davit_tiny --out benchmarks/results/mine.json

A published model with random weights and 1,000 classes, and `--images` JPEG files of 500x375 pixels, parts of two
photographs, in a folder for each class. Each call is a new process, from the start of Python to the last prediction,
and includes reading the files and preparing the execution. mixlab's calls are a first job with an empty cache, and
later ones, which find timings and the converted model. The peers are `plain_evaluation.py` with timm's model compiled
in bf16 and in OpenVINO in bf16. The calls take turns, and each round starts with the next one. The goal is a throughput
of at least 0.95 of the fastest peer's.

The results are numbers of this machine. All samples are written.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from plain_evaluation import EXECUTIONS
from serving import write_photographs, write_random_model

from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import speed_ratio
from mixlab.weights.timm_folder import TIMM_NAMES

GOAL = 0.95
CLASSES = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(TIMM_NAMES))
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        called = calls(folder, arguments.model, arguments.images)
        seconds = measure(called, arguments.rounds)
    content = {"date": date.today().isoformat(), "machine": machine.describe(torch.device("cpu"))}
    content |= {"model": arguments.model, "images": arguments.images, "seconds": seconds}
    content |= {"claims": claims(arguments.model, arguments.images, seconds)}
    for claim in content["claims"]:
        print(f"{claim['claim']}: {claim['value']['value']:.3g}")
    if arguments.out:
        write_json(arguments.out, content)


def calls(folder: Path, model: str, images: int) -> dict[str, Callable[[], object]]:
    """The commands to time, by name."""
    published = str(write_random_model(model, folder / "model"))
    photographs = write_classes(folder, images)
    first_cache, later_cache = folder / "first", folder / "later"
    predict = [sys.executable, "-m", "mixlab", "predict", published, str(photographs)]
    predict += ["--device", "cpu", "--format", "csv", "--quiet"]
    evaluate = [sys.executable, "-m", "mixlab", "evaluate", published, "--data", f"folder:{photographs.parent}"]
    evaluate += ["--device", "cpu", "--format", "json", "--quiet"]
    script = str(Path(__file__).with_name("plain_evaluation.py"))
    peers = {
        name: partial(run, [sys.executable, script, TIMM_NAMES[model], str(photographs), name], later_cache)
        for name in EXECUTIONS
    }

    def first(command: Sequence[str]) -> None:
        shutil.rmtree(first_cache, ignore_errors=True)
        run(command, first_cache)

    return {
        "mixlab predict, first job": partial(first, predict),
        "mixlab predict, later jobs": partial(run, predict, later_cache),
        "mixlab evaluate, first job": partial(first, evaluate),
        "mixlab evaluate, later jobs": partial(run, evaluate, later_cache),
        **peers,
    }


def measure(called: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """The seconds of each call in each round."""
    for name, call in called.items():
        if "later" in name:
            call()
    seconds: dict[str, list[float]] = {name: [] for name in called}
    for turn in range(rounds):
        first = turn % len(called)
        for name in [*called][first:] + [*called][:first]:
            start = perf_counter()
            called[name]()
            seconds[name].append(perf_counter() - start)
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    return seconds


def write_classes(folder: Path, images: int) -> Path:
    """A test split with the photographs in the folders of all classes."""
    files = write_photographs(folder / "photographs", images, 375, 500)
    test = folder / "data" / "test"
    for index, file in enumerate(files):
        of_class = test / f"class {index % CLASSES}"
        of_class.mkdir(parents=True, exist_ok=True)
        file.rename(of_class / file.name)
    return test


def run(command: Sequence[str], cache: Path) -> None:
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"XDG_CACHE_HOME": str(cache)})


def claims(model: str, images: int, seconds: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    peer = min(EXECUTIONS, key=lambda name: median(seconds[name]))
    return [
        {
            "claim": f"{model}, {images:,} photographs, {name}: images/s / those of the fastest script ({peer})",
            "value": asdict(speed_ratio(samples, of=seconds[peer])),
            "goal": GOAL,
        }
        for name, samples in seconds.items()
        if name.startswith("mixlab")
    ]


if __name__ == "__main__":
    main()
