"""How many images `mixlab predict` flags as unlike the training images: of the test split, and of other images.

    mixlab train digits_mixer --seed 0 --out runs/digits0
    mixlab train digits_mixer --seed 1 --out runs/digits1
    python benchmarks/novelty.py runs/digits0 runs/digits1 --others cifar10 --out benchmarks/results/mine.json

All runs are trainings of one recipe that differ in their seeds. The other images are: uniform noise; the test images
with inverted pixels, and with top and bottom exchanged; and the test splits of `--others`. They are grey if the test
images are. At most
`--images` are taken from each. The rate of the first row is that of false alarms; higher is better in all other rows.
Below them: the rate of false alarms if the threshold is computed from a random half of the test images and applied to
the other half (mean of 200 halves), and the accuracy on the test images that are flagged and on the others.
"""

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mixlab.data.dataset import Split
from mixlab.data.sources import open_dataset
from mixlab.files import write_json
from mixlab.measure.machine import device_name
from mixlab.prediction.predictor import Predictor
from mixlab.report.table import Column, Table, print_table
from mixlab.runs.folder import open_run
from mixlab.stats.intervals import mean_interval

Pixels = NDArray[np.uint8]


TEST = "test images"


def sample(split: Split, images: int) -> Split:
    """At most `images` images of the split, chosen with a fixed seed."""
    return split.subset(np.random.default_rng(0).permutation(len(split))[:images])


def pixels(split: Split) -> list[Pixels]:
    return [split.image(index) for index in range(len(split))]


def is_grey(images: Sequence[Pixels]) -> bool:
    return all((image == image[..., :1]).all() for image in images)


def grey(image: Pixels) -> Pixels:
    """The luminance in all three channels."""
    return np.array(Image.fromarray(image).convert("L").convert("RGB"))


def image_sets(held_out: Split, others: Sequence[str], images: int) -> dict[str, list[Pixels]]:
    """The images of each row."""
    test = pixels(sample(held_out, images))
    rng = np.random.default_rng(0)
    sets = {
        TEST: test,
        "noise": [rng.integers(0, 256, image.shape).astype(np.uint8) for image in test],
        "inverted": [255 - image for image in test],
        "upside down": [np.ascontiguousarray(image[::-1]) for image in test],
        **{other.partition(":")[0]: pixels(sample(open_dataset(other).splits["test"], images)) for other in others},
    }
    if is_grey(test):
        sets = {name: [grey(image) for image in images] for name, images in sets.items()}
    return sets


def rates(run: Path, sets: dict[str, list[Pixels]], labels: Sequence[str]) -> dict[str, float]:
    """The share of each set that is flagged, and the numbers below them (see above), in per cent."""
    predictor = Predictor(run, device="cpu")
    assert predictor.novelty is not None, f"{run} has no novelty.safetensors"
    predictions = {name: predictor([*images]) for name, images in sets.items()}
    flags = {name: np.array([one.unlike_training for one in each]) for name, each in predictions.items()}
    correct = np.array([one.label for one in predictions[TEST]]) == np.array(labels)
    shares = {
        "test, threshold of their other half": halves(predictor, sets[TEST]),
        "accuracy on flagged test images": correct[flags[TEST]].mean(),
        "accuracy on the other test images": correct[~flags[TEST]].mean(),
    }
    return {name: 100 * float(share) for name, share in {**{k: v.mean() for k, v in flags.items()}, **shares}.items()}


def halves(predictor: Predictor, images: Sequence[Pixels], repetitions: int = 200) -> float:
    """The share of false alarms on a random half of the images, with the threshold of the other half."""
    assert predictor.novelty is not None and predictor._inference is not None
    preprocess = predictor._preprocess
    with torch.inference_mode():
        inputs = torch.stack([preprocess.resized(image) for image in images])
        features = [predictor._inference(preprocess.finished(chunk))[0].numpy() for chunk in inputs.split(64)]
    distances = predictor.novelty.distances(np.concatenate(features))
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(repetitions):
        one, other = np.array_split(rng.permutation(distances), 2)
        shares.append((other > np.sort(one)[len(one) - (len(one) + 1) // 20]).mean())
    return float(np.mean(shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--others", nargs="*", default=[], help="data sets of other images")
    parser.add_argument("--images", type=int, default=1_000, help="at most so many images of each set")
    parser.add_argument("--out", type=Path, help="JSON file for the rates of each run")
    arguments = parser.parse_args()

    recipe = open_run(arguments.runs[0]).recipe
    dataset = open_dataset(recipe["data"])
    sets = image_sets(dataset.splits["test"], arguments.others, arguments.images)
    labels = [dataset.classes[label] for label in sample(dataset.splits["test"], arguments.images).labels]
    measured = {run.resolve().name: rates(run, sets, labels) for run in arguments.runs}
    columns = [Column("set", "images"), Column("n", "number"), Column("flagged", "flagged", "%", digits=1)]
    rows = [
        {
            "set": name,
            "n": len(sets.get(name, labels)),
            "flagged": mean_interval([run[name] for run in measured.values()], "%", least=0, most=100),
        }
        for name in next(iter(measured.values()))
    ]
    print_table(Table(f"{recipe['model']} on {recipe['data']}", columns, rows))
    if arguments.out:
        about = {"date": date.today().isoformat(), "device": device_name(torch.device("cpu")), "recipe": recipe}
        write_json(arguments.out, about | {"images": {name: len(each) for name, each in sets.items()}, "%": measured})


if __name__ == "__main__":
    main()
