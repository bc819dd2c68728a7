"""Time from a file to the first prediction: mixlab.load compared with safetensors alone and with timm.

    python benchmarks/loading.py --model mixer_l16 --rounds 9 --out benchmarks/results/mine.json

The file is safetensors with timm's names. It is read once before the timing, so that it is in the page cache. Each call
loads it and predicts one image: `mixlab.load`, reading the file into an existing model (the lower bound), and
`timm.create_model(checkpoint_path=...)`. The calls alternate in one process, and so do mixlab and timm without the
prediction, which takes the same time for all of them. The peak memory is measured in new processes, from before loading
to after the prediction. Goals, with the prediction: at most 0.15 s more than reading alone, at least 5 times as fast as
timm; peak memory at most 1.2 times the size of the weights.
"""

import argparse
import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from operator import sub
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import mixlab
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import interleaved, speed_ratio
from mixlab.report.table import Column, Table, print_table
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import median_interval
from mixlab.weights.timm_folder import TIMM_NAMES
from mixlab.zoo.sizes import find_size

SECONDS_GOAL, RATIO_GOAL, MEMORY_GOAL = 0.15, 5.0, 1.2

PEAK = """
import sys, torch, mixlab, mixlab.weights.load
from mixlab.measure.memory import peak_bytes
before = peak_bytes(torch.device("cpu"))
model = mixlab.load(sys.argv[1])
with torch.inference_mode():
    model(torch.zeros(1, 3, *[int(sys.argv[2])] * 2))
print(peak_bytes(torch.device("cpu")) - before)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare mixlab.load with reading alone and with timm.")
    parser.add_argument("--model", default="mixer_l16", metavar="NAME", help="a size that timm also has")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    logging.getLogger("mixlab").setLevel(
        logging.ERROR
    )  # otherwise a warning per round about fields that the file does not specify
    with TemporaryDirectory() as folder:
        results = measure(arguments.model, Path(folder) / "model.safetensors", arguments.rounds)
    if arguments.out:
        write_json(arguments.out, results)
    print_table(table(results))


def measure(name: str, path: Path, rounds: int) -> dict[str, Any]:
    """Save random weights to `path` and time all ways of loading them."""
    model = timm.create_model(TIMM_NAMES[name]).eval()
    save_file(model.state_dict(), path)
    side = find_size(name).config["image_size"]
    images = torch.randn(1, 3, side, side)
    seconds = interleaved(
        {
            "mixlab": lambda: predict(mixlab.load(path), images),
            "reading": lambda: predict(load_into(model, path), images),
            "timm": lambda: predict(timm.create_model(TIMM_NAMES[name], checkpoint_path=str(path)).eval(), images),
            "mixlab without the answer": lambda: mixlab.load(path),
            "timm without the answer": lambda: timm.create_model(TIMM_NAMES[name], checkpoint_path=str(path)),
        },
        rounds,
    )
    command = [sys.executable, "-c", PEAK, str(path), str(side)]
    peaks = [int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
    difference = median_interval(map(sub, seconds["mixlab"], seconds["reading"]), "s")
    results = {
        "date": date.today().isoformat(),
        "machine": machine.describe(machine.pick_device()),
        "model": name,
        "bytes": path.stat().st_size,
        "seconds": seconds,
        "more_than_reading": asdict(difference),
        "times_as_fast_as_timm": {
            "without the answer": asdict(
                speed_ratio(seconds["mixlab without the answer"], of=seconds["timm without the answer"])
            ),
            "with it": asdict(speed_ratio(seconds["mixlab"], of=seconds["timm"])),
        },
        "peak_bytes": peaks,
    }
    return results | {"claims": claims(results)}


def claims(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    model = f"{results['model']} in fp32, {len(results['seconds']['mixlab'])} rounds"
    what = f"{model}, from the file to the first prediction"
    ratios = results["times_as_fast_as_timm"]
    return [
        {
            "claim": f"{what}: seconds more than reading the file",
            "value": results["more_than_reading"],
            "at_most": SECONDS_GOAL,
        },
        {"claim": f"{what}: seconds of timm / mixlab", "value": ratios["with it"], "goal": RATIO_GOAL},
        {
            "claim": f"{model}, loading without a prediction: seconds of timm / mixlab",
            "value": ratios["without the answer"],
        },
        {
            "claim": f"{what}: peak memory / size of the weights",
            "value": median(results["peak_bytes"]) / results["bytes"],
            "at_most": MEMORY_GOAL,
        },
    ]


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    return model(images)


def load_into(model: nn.Module, path: Path) -> nn.Module:
    model.load_state_dict(load_file(path), assign=True)
    return model


def table(results: dict[str, Any]) -> Table:
    medians = {side: median_interval(samples, "s") for side, samples in results["seconds"].items()}
    difference = Estimate(**results["more_than_reading"])
    speed_ratios = {key: Estimate(**ratio) for key, ratio in results["times_as_fast_as_timm"].items()}
    peak = median(results["peak_bytes"]) / results["bytes"]
    return Table(
        f"{results['model']}: from the file to the first prediction",
        [Column("what", "Quantity"), Column("value", "Measured", digits=2), Column("goal", "Goal")],
        [
            *({"what": f"{side}, s", "value": value} for side, value in medians.items()),
            {"what": "mixlab minus reading, s", "value": difference, "goal": f"<= {SECONDS_GOAL}"},
            {
                "what": "speed relative to timm, without prediction",
                "value": speed_ratios["without the answer"],
            },
            {
                "what": "speed relative to timm, with prediction",
                "value": speed_ratios["with it"],
                "goal": f">= {RATIO_GOAL}",
            },
            {"what": "peak memory relative to the weights", "value": peak, "goal": f"<= {MEMORY_GOAL}"},
        ],
        notes=[
            f"{results['machine']['device']}, {results['machine']['threads']} threads; medians, interleaved timing."
        ],
    )


if __name__ == "__main__":
    main()
