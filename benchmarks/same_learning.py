"""Whether a training under mixlab's plan learns the same as one of stock PyTorch in fp32 (`speed = "off"`).

    python benchmarks/same_learning.py digits_convmixer --seeds 8 --out mine.json --figure losses.png

Every seed is trained twice, with the same recipe, order of images and augmentation. The plan may change the precision,
the memory layout and modules of the model. Measured are the difference of the test accuracies, with Schuirmann's test
of equivalence within half a percentage point (no p-value if all differences are equal), and the difference of the
losses of each epoch, compared with their spread over the seeds. Finished trainings are found in the run store.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.report.axes import Axis
from mixlab.report.curves import learning_curves
from mixlab.report.figure import Figure
from mixlab.report.table import Column, Table, print_table
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.stats.paired_t import equivalence_p
from mixlab.studies.answers import correct_of
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.recipe_files import read_recipe
from mixlab.training.runner import plan_trainings, run_all
from mixlab.weights.load import load_pretrained

MARGIN = 0.5  # percentage points


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare trainings under mixlab's plan with stock ones.")
    parser.add_argument("recipe", help="a name from `mixlab recipes`, or a file")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--out", type=Path, help="write all results to this JSON file")
    parser.add_argument("--figure", type=Path, help="draw the losses of all seeds to this PNG file")
    arguments = parser.parse_args()
    results = measure(arguments.recipe, arguments.seeds)
    if arguments.figure:
        loss_figure(results["losses"]).save_png(arguments.figure)
        results["figure"] = arguments.figure.name
    if arguments.out:
        write_json(arguments.out, results)
    print_table(table(results))


def measure(recipe: str, seeds: int) -> dict[str, Any]:
    fields = read_recipe(recipe)
    dataset = open_dataset(fields["data"], quiet=True)
    runs: dict[str, list[Run]] = {}
    for speed in ("auto", "off"):
        recipes = [parse_training_recipe(fields | {"seed": seed, "speed": speed}, recipe) for seed in range(seeds)]
        trainings = plan_trainings(recipes, dataset, machine.pick_device(), print)
        found = dict(run_all(trainings, log=print, quiet=True))
        runs[speed] = [found[seed] for seed in range(seeds)]
    top1 = {speed: [_top1(run, dataset) for run in of_speed] for speed, of_speed in runs.items()}
    losses = {speed: [losses_of(run) for run in runs[speed]] for speed in runs}
    differences = [planned - stock for planned, stock in zip(top1["auto"], top1["off"], strict=True)]
    return {
        "kind": "same learning",
        "date": date.today().isoformat(),
        "machine": machine.describe(),
        "recipe": recipe,
        "plan": runs["auto"][0].plan,
        "top1": top1,
        "difference": asdict(mean_interval(differences, unit="points")),
        "equivalence_p": None if math.isnan(p := equivalence_p(differences, MARGIN)) else p,
        "margin": MARGIN,
        "losses": losses,
        "largest_loss_difference": largest_loss_difference(losses["auto"], losses["off"]),
    }


def _top1(run: Run, dataset: Dataset) -> float:
    """In per cent of the test images."""
    return 100 * float(correct_of(load_pretrained(run.path), dataset).mean())


def losses_of(run: Run) -> list[float]:
    """The training loss of each epoch."""
    return [epoch["train"]["loss"] for epoch in read_history(run.journal).epochs]


def loss_figure(losses: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """A panel for each speed, with a curve of the training losses for each seed, and the mean of the other panel."""
    curves = {
        title: [(range(1, len(of_seed) + 1), of_seed) for of_seed in losses[speed]]
        for title, speed in (("mixlab's plan", "auto"), ("stock PyTorch, fp32", "off"))
    }
    return learning_curves(
        "Training loss", curves, models=list(curves), x=Axis("Epoch"), y=Axis("Training loss", scale="log")
    )


def largest_loss_difference(planned: Sequence[Sequence[float]], stock: Sequence[Sequence[float]]) -> float:
    """The largest difference of the mean losses of an epoch, in standard deviations of the stock one over the seeds."""
    epochs = zip(zip(*planned, strict=True), zip(*stock, strict=True), strict=True)
    return max(abs(fmean(of_planned) - fmean(of_stock)) / stdev(of_stock) for of_planned, of_stock in epochs)


def table(results: dict[str, Any]) -> Table:
    columns = [
        Column("recipe", "recipe"),
        Column("auto", "top-1 under the plan (%)", digits=2, uncertainty="interval"),
        Column("off", "top-1 of stock fp32 (%)", digits=2, uncertainty="interval"),
        Column("difference", "difference (points)", digits=2, uncertainty="interval"),
        Column("equivalence_p", "p of a difference of half a point", digits=4),
        Column("largest_loss_difference", "largest difference of losses (SD over seeds)", digits=2),
    ]
    row = results | {speed: mean_interval(values, unit="%") for speed, values in results["top1"].items()}
    row["difference"] = Estimate(**results["difference"])
    notes = [f"{len(results['top1']['off'])} seeds; {results['machine']['device']}."]
    return Table("The same learning", columns, [row], notes=notes)


if __name__ == "__main__":
    main()
