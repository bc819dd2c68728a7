"""Export of a model of full size: bytes, seconds, the parity, and the speed beside PyTorch, of every format in one run.

    python benchmarks/exporting.py mixer_b16 --rounds 9 --out benchmarks/results/mine.json

The weights are random, also those of the head. The seconds of the export include the comparison of all answers and the
measured speed. One image of the size of the model, and one of 640x480 pixels, take turns in PyTorch, eager in fp32, and
in `predict.py` of each format (fp32), without decoding.
"""

import argparse
import json
import runpy
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from mixlab.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from mixlab.export.export import export_model
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import interleaved
from mixlab.models.contract import height_and_width
from mixlab.report.table import Column, Table, print_table
from mixlab.weights.adapt import Weights
from mixlab.weights.exported import CARD, EXPORTED_FORMATS, READER
from mixlab.weights.load import load
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import architecture

LARGE = (480, 640)
SIDES = "at its size", "640x480"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a size")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        result = exported(arguments.model, arguments.rounds, Path(folder))
    print_table(_table(arguments.model, result))
    if arguments.out:
        described = {"date": date.today().isoformat(), "machine": machine.describe(torch.device("cpu"))}
        write_json(arguments.out, described | {"model": arguments.model} | result)


def exported(name: str, rounds: int, folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    found = architecture(name)
    built = found.build()
    nn.init.normal_(built.get_parameter("head.weight"), std=0.2)  # so that probabilities are far from uniform
    preprocess = Preprocess(
        height_and_width(found.image_size), "shorter_side", 0.875, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
    source = folder / "model"
    source.mkdir()
    classes = tuple(map(str, range(found.classes)))
    write_model_folder(source, Weights(found.family, dict(found.config), built.state_dict()), classes, preprocess, name)
    model = load(source)

    @torch.inference_mode()
    def in_pytorch(image: np.ndarray) -> object:
        return model(preprocess(image)[None]).softmax(dim=1)

    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (*sides, 3), dtype=np.uint8) for sides in (preprocess.image_size, LARGE)]
    formats: dict[str, Any] = {}
    answers: dict[str, Callable[[np.ndarray], object]] = {"eager": in_pytorch}
    for to, form in EXPORTED_FORMATS.items():
        out, start = folder / to, perf_counter()
        export_model(source, out, to=to, log=print)
        seconds = perf_counter() - start
        card = json.loads((out / CARD).read_text(encoding="utf-8"))
        stored = sum((out / file).stat().st_size for file in form.files)
        formats[to] = {"bytes": stored, "export_seconds": seconds, "parity": card["parity"]}
        open_model = runpy.run_path(str(out / READER))["open_model"]
        answers[to] = open_model(out, card, torch.get_num_threads())
    calls = {
        f"{program}, {side}": partial(answer, image)
        for side, image in zip(SIDES, images, strict=True)
        for program, answer in answers.items()
    }
    return {
        "image_size": list(preprocess.image_size),
        "large_image": list(LARGE),
        "formats": formats,
        "seconds_per_image": interleaved(calls, rounds=rounds, sample_seconds=0.0),
    }


def _table(name: str, result: dict[str, Any]) -> Table:
    columns = [Column("name", name), Column("milliseconds", "one image", "ms", digits=1)]
    rows = [{"name": form, "milliseconds": 1e3 * median(each)} for form, each in result["seconds_per_image"].items()]
    notes = [
        f"{form}: {stored['bytes']:,} bytes, exported in {stored['export_seconds']:.0f} s; probabilities differ by at "
        f"most {stored['parity']['difference']:.1g}."
        for form, stored in result["formats"].items()
    ]
    return Table(f"Export of {name}", columns, rows, notes)


if __name__ == "__main__":
    main()
