"""Speed of mixlab's models compared with timm's: prediction and training step, timed in the same run.

    python benchmarks/beside_timm.py --models mixer_b16 davit_tiny --rounds 9 --out benchmarks/results/mine.json

Both sides have the same weights and compute the same function, including the GELU variant, which is checked before the
timing. Each side runs in its own fastest stock mode (fp32 or bfloat16 autocast, contiguous or channels last), which a
short benchmark selects. The goal is a speed of at least 0.97 of timm's.
"""

import argparse
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mixlab.benchmark.timm_peer import timm_network
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import interleaved, speed_ratio
from mixlab.models.contract import height_and_width
from mixlab.report.table import Column, Table, print_table
from mixlab.speed.allocator import retain_freed_memory
from mixlab.speed.plan import ComputeMode, candidates, prepare_model
from mixlab.stats.estimate import Estimate
from mixlab.zoo.architecture import FAMILIES, architecture

GOAL = 0.97
SITTINGS = 3  # each with new copies of both models, because memory placement can change the speed by a few per cent
MODELS = ("mixer_nano", "convmixer_nano", "davit_nano", "mixer_s16", "convmixer_1024_20", "davit_tiny")
LOGIT_TOLERANCE = 1e-4  # relative to the largest logit, in fp32

Call = Callable[[], object]


@dataclass(frozen=True)
class Result:
    model: str
    task: str
    batch: int
    our_mode: ComputeMode
    their_mode: ComputeMode
    our_seconds: list[float]  # seconds per call, one per round
    their_seconds: list[float]
    speed_ratio: Estimate  # timm's time / mixlab's time: above 1, mixlab is faster


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the speed of mixlab's models with timm's.")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME", help="sizes as in `mixlab models`")
    parser.add_argument("--rounds", type=int, default=9, help="number of samples, a multiple of 3 (default 9)")
    parser.add_argument("--batch", type=int, default=8, help="images per call (default 8)")
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()

    retain_freed_memory()
    device = machine.pick_device()
    results: list[Result] = []
    for name in arguments.models:
        for result in compare(name, arguments.batch, arguments.rounds, device):
            print(f"{name}, {result.task}: {result.speed_ratio.value:.3f} of timm's speed", flush=True)
            results.append(result)
        if arguments.out:  # after each model, so that an interrupted run keeps its results
            write_json(arguments.out, record(results, device))
    print_table(table(results, device))


def record(results: list[Result], device: torch.device) -> dict[str, Any]:
    rows = [asdict(result) for result in results]
    return {
        "date": date.today().isoformat(),
        "machine": machine.describe(device),
        "claims": claims(rows),
        "results": rows,
    }


def claims(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "claim": f"{result['model']}, {result['task']}, batch {result['batch']}: images/s of mixlab in "
            f"{ComputeMode(**result['our_mode'])} / timm in {ComputeMode(**result['their_mode'])}",
            "value": result["speed_ratio"],
            "goal": GOAL,
        }
        for result in results
    ]


def compare(name: str, batch: int, rounds: int, device: torch.device) -> Iterator[Result]:
    """Time prediction and training step of one model against timm's."""
    ours, theirs = pair(name)
    config: Any = ours.config
    images = torch.randn(batch, config.image_channels, *height_and_width(config.image_size), device=device)
    labels = torch.randint(config.classes, (batch,), device=device)
    tasks = {
        "prediction": partial(prediction, images=images),
        "training": partial(training, images=images, labels=labels),
    }
    require_equal_logits(ours.to(device), theirs.to(device), images[:2])
    for task, make_call in tasks.items():
        our_mode, their_mode = pick_fastest(ours, make_call, device), pick_fastest(theirs, make_call, device)
        our_seconds: list[float] = []
        their_seconds: list[float] = []
        for sitting in range(SITTINGS):
            sides = [("ours", ours, our_mode), ("theirs", theirs, their_mode)]
            calls = {
                side: make_call(prepare_model(copy.deepcopy(model), device, mode), mode)
                for side, model, mode in (reversed(sides) if sitting % 2 else sides)
            }
            seconds = interleaved(calls, rounds // SITTINGS)
            our_seconds += seconds["ours"]
            their_seconds += seconds["theirs"]
        ratio = speed_ratio(our_seconds, of=their_seconds)
        yield Result(name, task, batch, our_mode, their_mode, our_seconds, their_seconds, ratio)


def pair(name: str) -> tuple[Any, nn.Module]:
    """The model of mixlab and of timm with the same random weights. Both state_dicts have the same order."""
    described = architecture(name, **({"gelu": "erf"} if name.startswith("mixer") else {}))
    theirs = timm_network(described) if described.family in FAMILIES else None
    if theirs is None:
        raise SystemExit(f"{name} is not one of mixlab's three families: timm has no model to compare it with.")
    ours: Any = described.build()
    nn.init.normal_(ours.head.weight)  # a Mixer's head is initialised to 0, so all logits would be 0
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    return ours, theirs


def require_equal_logits(ours: nn.Module, theirs: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        logits, expected = ours.eval()(images), theirs.eval()(images)
    difference = ((logits - expected).abs().max() / expected.abs().max()).item()
    assert difference < LOGIT_TOLERANCE, (
        f"the two sides compute different functions: {difference:.1e} of the largest logit"
    )


def prediction(model: nn.Module, mode: ComputeMode, images: Tensor) -> Call:
    model.eval()
    images = images.to(memory_format=mode.memory_format)

    def call() -> None:
        with torch.inference_mode(), mode.autocast(images.device):
            model(images)

    return call


def training(model: nn.Module, mode: ComputeMode, images: Tensor, labels: Tensor) -> Call:
    """A full training step: forward, cross-entropy, backward and AdamW."""
    model.train()
    images = images.to(memory_format=mode.memory_format)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def call() -> None:
        optimizer.zero_grad()
        with mode.autocast(images.device):
            loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    return call


def pick_fastest(model: nn.Module, make_call: Callable[..., Call], device: torch.device) -> ComputeMode:
    """The fastest stock mode in a short benchmark; each mode has its own copy of the model.

    Each mode is compared with the first one round by round, because the speed of the machine can change over time.
    """
    modes = {str(mode): mode for mode in candidates(device, "auto")}
    calls = {name: make_call(prepare_model(copy.deepcopy(model), device, mode), mode) for name, mode in modes.items()}
    seconds = interleaved(calls, rounds=7, warmup=1)
    first = seconds[next(iter(modes))]
    best = max(modes, key=lambda name: speed_ratio(seconds[name], of=first).value)
    return modes[best]


def table(results: list[Result], device: torch.device) -> Table:
    columns = [
        Column("model", "Model"),
        Column("task", "Task"),
        Column("batch", "Batch", "images"),
        Column("ours", "mixlab", "images/s"),
        Column("theirs", "timm", "images/s"),
        Column("our_mode", "mixlab's mode"),
        Column("their_mode", "timm's mode"),
        Column("ratio", "Speed ratio", digits=3, uncertainty="interval"),
    ]
    rows = [
        {
            "model": result.model,
            "task": result.task,
            "batch": result.batch,
            "ours": result.batch / median(result.our_seconds),
            "theirs": result.batch / median(result.their_seconds),
            "our_mode": str(result.our_mode),
            "their_mode": str(result.their_mode),
            "ratio": result.speed_ratio,
        }
        for result in results
    ]
    reached = sum(result.speed_ratio.value >= GOAL for result in results)
    notes = [
        f"{machine.device_name(device)}, threads in use: {torch.get_num_threads()}, "
        f"torch {torch.__version__}, timm {timm.__version__}. Interleaved timing; each side in its fastest stock mode.",
        "Speed ratio: speed of mixlab relative to timm, median over rounds. "
        f"Goal {GOAL}: reached in {reached} of {len(results)}.",
    ]
    return Table("Speed compared with timm", columns, rows, notes)


if __name__ == "__main__":
    main()
