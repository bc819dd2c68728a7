"""The time to start: `mixlab --help`, `mixlab models`, and the prediction of one photograph beside bare PyTorch.

    python benchmarks/start_up.py --out benchmarks/results/mine.json

Each call is a new process; they take turns, and the first call of each is not counted. Bare PyTorch imports torch,
loads a whole module that `torch.save` wrote, decodes and resizes the photograph with Pillow, and answers with one
forward pass in fp32. With timm, it imports timm, builds timm's model of the same size and loads its weights from a
safetensors file. `mixlab predict` does the same from a published folder, and prints its answer.

The results are numbers of this machine. All samples are written.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from serving import write_photographs, write_random_model

from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import interleaved, speed_ratio
from mixlab.stats.intervals import median_interval
from mixlab.weights.timm_folder import TIMM_NAMES
from mixlab.zoo.architecture import create_model

BARE = """
import sys
import numpy as np
import torch
from PIL import Image

file, photograph = sys.argv[1:]
model = torch.load(file, weights_only=False).eval()
"""

WITH_TIMM = """
import sys
import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

name, weights, photograph = sys.argv[1:]
model = timm.create_model(name).eval()
model.load_state_dict(load_file(weights))
"""

ANSWER = """
pixels = np.asarray(Image.open(photograph).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))
images = torch.from_numpy(pixels / 255).float().permute(2, 0, 1)[None].sub(0.5).div(0.5)
with torch.inference_mode():
    print(model(images).softmax(-1).topk(5))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mixer_s32", choices=sorted(TIMM_NAMES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        result = measure(calls(folder, arguments.model), arguments.model, arguments.rounds)
    for claim in result["claims"]:
        print(f"{claim['claim']}: {claim['value']['value']:.3g} (at most {claim['at_most']})")
    if arguments.out:
        context = {"date": date.today().isoformat(), "machine": machine.describe(torch.device("cpu"))}
        write_json(arguments.out, context | {"model": arguments.model} | result)


def calls(folder: Path, model: str) -> dict[str, Callable[[], object]]:
    """The commands to time, by name."""
    published = write_random_model(model, folder / "model")
    (photograph,) = write_photographs(folder / "images", 1, 375, 500)
    timm_name, weights, module = TIMM_NAMES[model], folder / "timm.safetensors", folder / "module.pt"
    save_file(timm.create_model(timm_name).state_dict(), weights)
    torch.save(create_model(model), module)
    bare, with_timm = folder / "bare.py", folder / "with_timm.py"
    bare.write_text(BARE + ANSWER, encoding="utf-8")
    with_timm.write_text(WITH_TIMM + ANSWER, encoding="utf-8")
    mixlab = [sys.executable, "-m", "mixlab"]
    commands: dict[str, Sequence[str]] = {
        "help": [*mixlab, "--help"],
        "models": [*mixlab, "models"],
        "predict": [*mixlab, "predict", str(published), str(photograph), "--device", "cpu"],
        "bare PyTorch": [sys.executable, str(bare), str(module), str(photograph)],
        "PyTorch with timm": [sys.executable, str(with_timm), timm_name, str(weights), str(photograph)],
    }
    return {name: partial(_run, command) for name, command in commands.items()}


def measure(called: dict[str, Callable[[], object]], model: str, rounds: int) -> dict[str, Any]:
    """The samples of all calls, and the claims about their medians."""
    seconds = interleaved(called, rounds=rounds, warmup=1, sample_seconds=0.0)
    times = {  # of `mixlab predict`, relative to those of the peers
        peer: asdict(speed_ratio(seconds[peer], of=seconds["predict"]))
        for peer in ("bare PyTorch", "PyTorch with timm")
    }
    claims = [
        {"claim": "`mixlab --help`, seconds", "value": asdict(median_interval(seconds["help"], "s")), "at_most": 0.2},
        {"claim": "`mixlab models`, seconds", "value": asdict(median_interval(seconds["models"], "s")), "at_most": 0.3},
        *(
            {"claim": f"{model}: `mixlab predict` of one photograph / {peer}, time", "value": time, "at_most": 1.3}
            for peer, time in times.items()
        ),
    ]
    return {"claims": claims, "seconds": seconds}


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
