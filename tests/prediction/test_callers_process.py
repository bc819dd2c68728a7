"""Reading, loading, predicting and training leave the caller's process as it is, and do not depend on its settings.

Training seeds the random numbers of PyTorch.
"""

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

import mixlab
from mixlab.data.sources import open_dataset
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import resolve
from mixlab.training.loop import train
from mixlab.training.recipes.parse import parse_training_recipe

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def process_state() -> dict[str, Any]:
    """The settings of the process that other code could depend on."""
    return {
        "warnings": list(warnings.filters),
        "Pillow": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradients": torch.is_grad_enabled(),
        "algorithms": (torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()),
        "oneDNN": torch.backends.mkldnn.enabled,
        # not those of `random`, which the type checker of the tests uses
        "random numbers": (torch.get_rng_state().tolist(), str(np.random.get_state())),
        "environment": dict(os.environ),
        "signals": [signal.getsignal(number) for number in SIGNALS],
        "logging": (list(logging.getLogger().handlers), logging.getLogger().level),
        "working directory": Path.cwd(),
    }


@pytest.fixture
def run(tmp_path, shades, tiny_recipe) -> Run:
    job = resolve(parse_training_recipe(tiny_recipe, "tiny"), shades, torch.device("cpu"))
    return train(job, Plan("cpu", ComputeMode(), micro_batch=8), tmp_path / "run", quiet=True)


@pytest.fixture
def files(tmp_path, shades) -> list[Path]:
    files = [tmp_path / "shades" / f"{'ab'[index % 2]}" / f"{index}.png" for index in range(16)]
    for index, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shades.splits["train"].image(index)).save(file)
    return files


def test_no_call_changes_the_process(run, files, tmp_path, shades, tiny_recipe):
    job = resolve(parse_training_recipe(tiny_recipe, "tiny"), shades, torch.device("cpu"))
    calls = {
        "open_dataset": lambda: open_dataset(f"folder:{tmp_path / 'shades'}", quiet=True).splits["train"].image(0),
        "load": lambda: mixlab.load(run.path),
        "Predictor": lambda: mixlab.Predictor(run.path)(files),
        "train": lambda: train(job, Plan("cpu", ComputeMode(), micro_batch=8), tmp_path / "again", quiet=True),
    }
    for name, call in calls.items():
        before = process_state()
        call()
        after = process_state()
        changed = {setting for setting in before if before[setting] != after[setting]}
        assert changed <= ({"random numbers"} if name == "train" else set()), name


@pytest.fixture
def unusual_process() -> Iterator[None]:
    with torch.device("meta"), warnings.catch_warnings(action="error"), pytest.MonkeyPatch.context() as patch:
        torch.set_default_dtype(torch.float64)
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def test_predictions_do_not_depend_on_the_settings_of_the_process(run, files, request):
    expected = mixlab.Predictor(run.path)(files)
    request.getfixturevalue("unusual_process")
    predictions = mixlab.Predictor(run.path)(files)
    assert next(mixlab.load(run.path).parameters()).dtype == torch.float32
    for prediction, like in zip(predictions, expected, strict=True):
        assert np.array_equal(prediction.probabilities, like.probabilities)


def test_a_predictor_works_in_many_threads(run, files):
    predictor = mixlab.Predictor(run.path)
    expected = [predictor(file).probabilities for file in files]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for prediction, like in zip(pool.map(predictor, files), expected, strict=True):
                assert np.array_equal(prediction.probabilities, like)
