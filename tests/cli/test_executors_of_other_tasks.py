"""--jobs for comparisons of texts, several labels, masks and sounds."""

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.speed.plan import ComputeMode
from mixlab.training.planning import autotune
from mixlab.training.planning.autotune import Timings
from shape_masks import write_plain
from small_texts import write_texts
from sounds import write_tones

COMPARE = ("compare", "--epochs", "1", "--seeds", "1", "--out", "out", "--quiet")


@pytest.fixture(autouse=True)
def without_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        autotune, "time_job", lambda job, log, *rest: Timings(min(job.batch, 20), "released", {ComputeMode(): 0.01})
    )


def texts(folder: Path) -> tuple[str, ...]:
    write_texts(folder / "texts.csv", 60)
    return ("--task", "text", "--data", "text:texts.csv", "--models", "variant:text_mixer,variant:text_transformer")


def labels(folder: Path) -> tuple[str, ...]:
    rng, rows = np.random.default_rng(0), [("path", "labels")]
    for index in range(60):
        pixels = rng.integers(0, 40, (8, 8, 3)).astype(np.uint8)
        present = rng.random(3) < 0.5
        pixels[2:5, 2:5, present] = 220
        Image.fromarray(pixels).save(folder / f"{index}.png")
        rows.append((f"{index}.png", "|".join(np.array(["red", "green", "blue"])[present])))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return ("--task", "multilabel", "--data", "csv:labels.csv", "--models", "mixer_nano,convmixer_nano")


def masks(folder: Path) -> tuple[str, ...]:
    write_plain(folder / "shapes", images=24)
    models = ("--models", "mixer_nano,convmixer_nano")
    return ("--task", "segmentation", "--data", "masks:shapes", *models, "--image-size", "32")


def sounds(folder: Path) -> tuple[str, ...]:
    write_tones(folder / "tones", (("high", 2_000.0), ("low", 300.0)), 12, seconds=0.6)
    return ("--data", "audio:tones", "--models", "mixer_nano,convmixer_nano")


@pytest.mark.long
@pytest.mark.parametrize("words_of", [texts, labels, masks, sounds])
def test_a_comparison_is_listed_and_collected(run: Callable, here: Path, words_of: Callable):
    words = (*COMPARE, *words_of(here), "--jobs", "jobs")
    listed = run(*words)
    assert (listed.status, listed.err) == (75, "")
    assert listed.out.startswith("0 of 2 trainings finished, 2 not started")
    for command in Path("jobs/jobs.txt").read_text().splitlines():
        arguments = shlex.split(command)
        ended = run(*arguments[arguments.index("mixlab") + 1 :], "--quiet")
        assert ended.status == 0, ended.err
    collected = run(*words)
    assert collected.status == 0, collected.err
    assert len(json.loads(Path("out/results.json").read_text())["models"]) == 2
    assert Path("out/report.html").exists()
