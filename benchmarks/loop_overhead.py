"""Overhead of mixlab's training loop compared with a minimal PyTorch loop of the same step.

    python benchmarks/loop_overhead.py --model convmixer_256_8 --batch 128 --out benchmarks/results/mine.json

Each loop trains its own model on the same random images in the same batches: forward, cross-entropy, backward,
clipping, AdamW. The loops alternate step by step in one process, so that a slowdown of the machine affects both.
mixlab's steps include its journal, gradient norms, metrics and a checkpoint every 100 steps. The benchmark waits until
a checkpoint is written; a training does not. Goal: an overhead of at most 3 %.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.nn import functional as F

from mixlab.data.dataset import Dataset, Split
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import synchronize
from mixlab.report.table import Column, Table, print_table
from mixlab.runs.checkpoints import Checkpoint, Checkpoints
from mixlab.speed.plan import ComputeMode, Plan, prepare_model
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import median_interval
from mixlab.training import loop
from mixlab.training.job import Job, resolve
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.zoo.sizes import find_size

GOAL = 3.0  # per cent
CHECKPOINT_EVERY = 100
WARMUP = 5
_BLOCK = 10  # steps per sample of the overhead


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare mixlab's training loop with a minimal one.")
    parser.add_argument("--model", default="convmixer_256_8", metavar="NAME")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument(
        "--steps", type=int, default=200, help="use a multiple of 100, the number of steps between checkpoints"
    )
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    job = make_job(arguments.model, arguments.batch, arguments.steps)
    freed_memory = "retained" if job.device.type == "cpu" else "released"  # for both loops, which share a process
    plan = Plan(job.device.type, ComputeMode(arguments.precision), arguments.batch, freed_memory=freed_memory)
    results = measure(job, plan)
    if arguments.out:
        write_json(arguments.out, results)
    print_table(table(results))


def make_job(model: str, batch: int, steps: int) -> Job:
    """A training of `steps` steps. An epoch has 100 steps, because every epoch ends with a checkpoint."""
    side, n_images = find_size(model).config["image_size"], CHECKPOINT_EVERY * batch
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, size=(n_images, side, side, 3), dtype=np.uint8))
    labels = rng.integers(0, 10, size=n_images)
    split = Split([str(number) for number in range(n_images)], labels, images)
    dataset = Dataset("invented", tuple("0123456789"), {"train": split, "test": split.subset(range(10))})
    fields = {
        "model": model,
        "data": "invented",
        "steps": WARMUP + steps,
        "batch": batch,
        "optimizer": {"learning_rate": 1e-3, "weight_decay": 0.05, "clip_norm": 1.0},
        "augmentation": {"flip": True},
        "checkpoints": {"every_steps": CHECKPOINT_EVERY},
    }
    return resolve(parse_training_recipe(fields, "the benchmark's"), dataset, machine.pick_device())


def measure(job: Job, plan: Plan) -> dict[str, Any]:
    """Run both loops in turn and compute the overhead."""
    ours, bare = [], []
    minimal_step = minimal_loop(job, plan)

    @contextmanager
    def alternate(*_: object, **__: object) -> Iterator[Callable[..., None]]:
        """Replaces the progress bar, which is called after every step, and takes a step of the minimal loop there."""
        clock = [time.perf_counter()]

        def advance(steps: int = 1, text: str = "") -> None:
            if steps:
                synchronize()
                ours.append(time.perf_counter() - clock[0])
                started = time.perf_counter()
                minimal_step()
                bare.append(time.perf_counter() - started)
            clock[0] = time.perf_counter()

        yield advance

    save = Checkpoints.save

    def save_and_wait(checkpoints: Checkpoints, checkpoint: Checkpoint) -> None:
        save(checkpoints, checkpoint)
        if checkpoint.metadata["step"] % CHECKPOINT_EVERY == 0:
            checkpoints._wait()

    with (
        TemporaryDirectory() as folder,
        patch.object(loop, "progress_bar", alternate),
        patch.object(Checkpoints, "save", save_and_wait),
    ):
        loop.train(job, plan, Path(folder) / "run", quiet=True)
    ours, bare = ours[WARMUP:], bare[WARMUP:]
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(ours), _BLOCK)]
    overheads = [100 * (sum(ours[block]) / sum(bare[block]) - 1) for block in blocks]
    results = {
        "date": date.today().isoformat(),
        "machine": machine.describe(job.device),
        "model": job.recipe.model,
        "batch": job.batch,
        "mode": str(plan.mode),
        "our_seconds": ours,
        "bare_seconds": bare,
        "more": 100 * (sum(ours) / sum(bare) - 1),
        "more_a_block": asdict(median_interval(overheads, "%")),
    }
    return results | {"claims": claims(results)}


def claims(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    what = f"{results['model']}, training step, batch {results['batch']}, {results['mode']}"
    return [
        {
            "claim": f"{what}: time more than that of a minimal loop, in %",
            "value": results["more"],
            "at_most": GOAL,
        }
    ]


def minimal_loop(job: Job, plan: Plan) -> Callable[[], None]:
    """A function that takes one step of the minimal loop."""
    torch.manual_seed(0)
    model = prepare_model(job.build(), job.device, plan.mode)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    batches = job.training_batches(quiet=True)
    stream = (batch for epoch in range(10**6) for batch in batches.epoch(epoch))

    def step() -> None:
        images, labels = next(stream).on(job.device)
        with plan.forward_context(job.device):
            logits = model(images.contiguous(memory_format=plan.mode.memory_format))
        F.cross_entropy(logits.float(), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        synchronize()

    return step


def table(results: dict[str, Any]) -> Table:
    return Table(
        f"{results['model']}, batch {results['batch']}, {results['mode']}: overhead of the training loop",
        [Column("what", "Quantity"), Column("value", "Measured", digits=2), Column("goal", "Goal")],
        [
            {"what": "seconds per step, mixlab", "value": sum(results["our_seconds"]) / len(results["our_seconds"])},
            {
                "what": "seconds per step, minimal loop",
                "value": sum(results["bare_seconds"]) / len(results["bare_seconds"]),
            },
            {"what": "overhead, all steps, %", "value": results["more"], "goal": f"<= {GOAL:g}"},
            {"what": f"overhead, median of blocks of {_BLOCK} steps, %", "value": Estimate(**results["more_a_block"])},
        ],
        notes=[f"{results['machine']['device']}, {results['machine']['threads']} threads; interleaved steps."],
    )


if __name__ == "__main__":
    main()
