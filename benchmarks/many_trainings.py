"""Many small trainings: as many at the same time as the plan says, beside one at a time with all cores.

    python benchmarks/many_trainings.py --out benchmarks/results/mine.json

The trainings are those of `mixlab compare --data digits`: the default recipes of three models, with several seeds. Both
ways train the same models in turns, each time in an empty store, with the start of every process.

The results are numbers of this machine. All samples are written.
"""

import argparse
import os
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from mixlab.data.sources import open_dataset
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.stats.intervals import mean_interval
from mixlab.training.job import resolve
from mixlab.training.planning.autotune import select_common_plans
from mixlab.training.planning.concurrency import select_concurrent_plans
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.training.runner import run_all
from mixlab.training.training import Training

DATA = "digits"
MODELS = ("mixer_nano", "convmixer_nano", "davit_nano")
GOAL = 1.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help="separated by commas")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each model")
    parser.add_argument("--epochs", type=int, default=25, help="default: those of the demo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    device = machine.pick_device()
    dataset = open_dataset(DATA, quiet=True)
    models = arguments.models.split(",")
    recipes = [_recipe(model, seed, arguments.epochs) for model in models for seed in range(arguments.seeds)]
    jobs = [resolve(recipe, dataset, device) for recipe in recipes]
    ways = {"one at a time": select_common_plans(jobs, print), "as planned": select_concurrent_plans(jobs, print)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(arguments.rounds):
        for name in list(ways)[:: -1 if index % 2 else 1]:
            start = time.perf_counter()
            _train([Training(job, *plan) for job, plan in zip(jobs, ways[name], strict=True)])
            seconds[name].append(time.perf_counter() - start)
    ratios = [one / together for one, together in zip(*seconds.values(), strict=True)]
    ratio = mean_interval(ratios, "")
    number = ways["as planned"][0][0].concurrent
    claim = f"{', '.join(models)} on {DATA}: trainings an hour, {number} at the same time / one at a time"
    print(f"{claim}: {ratio.value:.2f} (goal {GOAL})")
    if arguments.out:
        value = {"value": ratio.value, "low": ratio.low, "high": ratio.high}
        result = {
            "date": date.today().isoformat(),
            "machine": machine.describe(torch.device("cpu")),
            "claims": [{"claim": claim, "value": value, "goal": GOAL}],
            "plans": {name: planned[0][0].to_dict() for name, planned in ways.items()},
            "trainings": len(jobs),
            "epochs": arguments.epochs,
            "seconds": seconds,
        }
        write_json(arguments.out, result)


def _recipe(model: str, seed: int, epochs: int) -> Recipe:
    name, fields = default_recipe(model, DATA)
    fields.pop("expected", None)
    return parse_training_recipe(fields | {"seed": seed, "epochs": epochs}, name)


def _train(trainings: Sequence[Training]) -> None:
    """Train in an empty store."""
    with TemporaryDirectory() as folder:
        os.environ["MIXLAB_RUNS"] = folder
        for _ in run_all(trainings, log=print, quiet=True):
            pass


if __name__ == "__main__":
    main()
