"""From a file on disk to the first answer: mixlab.load beside safetensors into a ready model, and beside timm.

    python benchmarks/loading.py --model mixer_l16 --rounds 9 --out benchmarks/results/mine.json

The file is safetensors under timm's names, read once before the clock starts, so that it lies in the page cache. Each
call loads it and answers one image: `mixlab.load`, the reading alone into a model that exists (the least that anybody
could do), and `timm.create_model(checkpoint_path=...)`. They take turns in one process, and so do mixlab and timm
without the answer, which costs all of them the same. The peak of memory is that of fresh processes, from before the
loading to after the answer. Goals, with the answer: at most 0.15 s more than the reading alone, at least 5 times as
fast as timm; at most 1.2 times the weights in memory.
"""

import argparse
import logging
import subprocess
import sys
from dataclasses import asdict
from datetime import date
from operator import sub
from pathlib import Path
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
    parser = argparse.ArgumentParser(description="Time mixlab.load beside the reading alone, and beside timm.")
    parser.add_argument("--model", default="mixer_l16", metavar="NAME", help="a size that timm has as well")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="write every sample to this JSON file")
    arguments = parser.parse_args()
    logging.getLogger("mixlab").setLevel(logging.ERROR)  # what the file does not say, said once a round
    with TemporaryDirectory() as folder:
        results = measured(arguments.model, Path(folder) / "model.safetensors", arguments.rounds)
    if arguments.out:
        write_json(arguments.out, results)
    print_table(table(results))


def measured(name: str, path: Path, rounds: int) -> dict[str, Any]:
    ready = timm.create_model(TIMM_NAMES[name]).eval()
    save_file(ready.state_dict(), path)
    side = find_size(name).config["image_size"]
    images = torch.randn(1, 3, side, side)
    seconds = interleaved(
        {
            "mixlab": lambda: answer(mixlab.load(path), images),
            "reading": lambda: answer(filled(ready, path), images),
            "timm": lambda: answer(timm.create_model(TIMM_NAMES[name], checkpoint_path=str(path)).eval(), images),
            "mixlab without the answer": lambda: mixlab.load(path),
            "timm without the answer": lambda: timm.create_model(TIMM_NAMES[name], checkpoint_path=str(path)),
        },
        rounds,
    )
    command = [sys.executable, "-c", PEAK, str(path), str(side)]
    peaks = [int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
    more = median_interval(map(sub, seconds["mixlab"], seconds["reading"]), "s")
    return {
        "date": date.today().isoformat(),
        "machine": machine.describe(machine.pick_device()),
        "model": name,
        "bytes": path.stat().st_size,
        "seconds": seconds,
        "more_than_reading": asdict(more),
        "times_as_fast_as_timm": {
            "without the answer": asdict(
                speed_ratio(seconds["mixlab without the answer"], of=seconds["timm without the answer"])
            ),
            "with it": asdict(speed_ratio(seconds["mixlab"], of=seconds["timm"])),
        },
        "peak_bytes": peaks,
        "goals": {"more_than_reading": SECONDS_GOAL, "times_as_fast_as_timm": RATIO_GOAL, "peak": MEMORY_GOAL},
    }


@torch.inference_mode()
def answer(model: nn.Module, images: Tensor) -> Tensor:
    return model(images)


def filled(model: nn.Module, path: Path) -> nn.Module:
    model.load_state_dict(load_file(path), assign=True)
    return model


def table(results: dict[str, Any]) -> Table:
    median = {side: median_interval(samples, "s") for side, samples in results["seconds"].items()}
    more = Estimate(**results["more_than_reading"])
    faster = {which: Estimate(**ratio) for which, ratio in results["times_as_fast_as_timm"].items()}
    peak = sorted(results["peak_bytes"])[1] / results["bytes"]
    return Table(
        f"{results['model']}: from the file to the first answer",
        [Column("what", "what"), Column("value", "measured", digits=2), Column("goal", "goal")],
        [
            *({"what": f"{side}, s", "value": value} for side, value in median.items()),
            {"what": "more than the reading, s", "value": more, "goal": f"<= {SECONDS_GOAL}"},
            {
                "what": "times as fast as timm, without the answer",
                "value": faster["without the answer"],
            },
            {"what": "times as fast as timm, with it", "value": faster["with it"], "goal": f">= {RATIO_GOAL}"},
            {"what": "peak of memory, times the weights", "value": peak, "goal": f"<= {MEMORY_GOAL}"},
        ],
        notes=[
            f"{results['machine']['device']}, {results['machine']['threads']} threads; medians over rounds in turn."
        ],
    )


if __name__ == "__main__":
    main()
