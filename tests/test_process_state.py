"""The caller's process: mixlab does not change its settings, does not depend on them, and runs in many threads."""

import io
import locale
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

import mixlab
from mixlab.data import image_file
from mixlab.data.dataset import Dataset
from mixlab.data.image_file import UnreadableImage, image_kinds, read_image
from mixlab.data.pillow_settings import SharedContext
from mixlab.data.sources import open_dataset
from mixlab.evaluation.model_evaluation import evaluate_model
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import resolve
from mixlab.training.loop import train
from mixlab.training.recipes.parse import parse_training_recipe


def process_state() -> dict[str, Any]:
    """Settings of the process, by name.

    Python's random numbers have a test of their own, because the type checks of the tests use them.
    """
    loggers = [logging.getLogger(), logging.getLogger("mixlab")]
    return {
        "warnings": (list(warnings.filters), warnings.showwarning),
        "Pillow": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, "HEIF" in Image.OPEN),
        "torch": (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "determinism": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        "precision": (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32),
        "numpy": repr(np.random.get_state()),
        "torch random": torch.get_rng_state().tolist(),
        "numpy errors": np.geterr(),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "logging": [(logger.level, list(logger.handlers), logger.disabled) for logger in loggers],
        "hooks": (sys.excepthook, sys.unraisablehook, sys.stdout, sys.stderr),
    }


@pytest.fixture
def run(tmp_path: Path, pets: Path, tiny_recipe: dict[str, Any]) -> Run:
    """A training whose preprocessing crops. Its plan sets a number of threads."""
    recipe = tiny_recipe | {"data": f"folder:{pets}", "preprocessing": {"resize": "shorter_side", "crop_fraction": 0.8}}
    job = resolve(parse_training_recipe(recipe, "tiny"), open_dataset(f"folder:{pets}"), torch.device("cpu"))
    threads = 1 if torch.get_num_threads() > 1 else 2
    return train(job, Plan("cpu", ComputeMode(), 8, threads=threads), tmp_path / "run", quiet=True)


CALLS: dict[str, Callable[[Run, Path], Any]] = {
    "reading an image": lambda run, images: read_image(images / "cat" / "00.png"),
    "kinds of an image": lambda run, images: image_kinds((images / "cat" / "00.png").read_bytes()),
    "open_dataset": lambda run, images: open_dataset(f"folder:{images}"),
    "list_models": lambda run, images: mixlab.list_models("*"),
    "card": lambda run, images: mixlab.card("mixer_b16.goog_in1k"),
    "load": lambda run, images: mixlab.load(run.path),
    "load with another head and size": lambda run, images: mixlab.load(run.path, classes=3, image_size=12),
    "Predictor": lambda run, images: mixlab.Predictor(run.path, device="cpu")(images / "cat" / "00.png"),
    "evaluate": lambda run, images: evaluate_model(str(run.path), None, quiet=True, device="cpu"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_changes_no_setting(call, run, pets):
    call(run, pets)  # Pillow, torch and others may load parts of themselves in the first call
    before = process_state()
    call(run, pets)
    assert process_state() == before


def test_a_training_changes_no_setting(tmp_path, shades: Dataset, tiny_recipe):
    job = resolve(parse_training_recipe(tiny_recipe, "tiny"), shades, torch.device("cpu"))
    threads = 1 if torch.get_num_threads() > 1 else 2
    before = process_state()
    train(job, Plan("cpu", ComputeMode(), 8, threads=threads), tmp_path / "run", quiet=True)
    assert process_state() == before


def test_importing_mixlab_changes_no_setting():
    code = """
import os, signal, warnings
def state():
    return list(warnings.filters), dict(os.environ), [signal.getsignal(one) for one in signal.valid_signals()]
before = state()
import mixlab
assert state() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_python_random_numbers_are_not_used(run, pets):
    code = """
import random, sys
from pathlib import Path
import mixlab
from mixlab.evaluation.model_evaluation import evaluate_model
from mixlab.runs.folder import Run
folder, image = sys.argv[1:]
before = random.getstate()
mixlab.Predictor(folder, device="cpu")(image)
evaluate_model(folder, None, quiet=True, device="cpu")
assert random.getstate() == before
"""
    subprocess.run([sys.executable, "-c", code, run.path, pets / "cat" / "00.png"], check=True)


def answer(run: Run, images: Path) -> list[Any]:
    """What `load`, `Predictor`, `evaluate` and reading an image return."""
    resized = mixlab.load(run.path, classes=3, image_size=12)
    predicted = mixlab.Predictor(run.path, device="cpu")([images / "cat" / "00.png", images / "dog" / "00.png"])
    evaluation = evaluate_model(str(run.path), None, quiet=True, device="cpu").evaluation
    tensors = mixlab.load(run.path).state_dict() | {f"resized/{k}": v for k, v in resized.state_dict().items()}
    return [
        [(name, tensor.device.type, tensor.dtype, tensor.tolist()) for name, tensor in tensors.items()],
        [(one.label, one.probabilities.dtype, one.probabilities.tolist()) for one in predicted],
        evaluation.nll.tolist(),
        read_image(images / "cat" / "00.png").tolist(),
    ]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def pillow_limits() -> Iterator[None]:
    """The smallest limit of Pillow, under which its functions raise errors for images of 8x8 pixels."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, 1
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


SETTINGS: dict[str, Callable[[], Any]] = {
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "meta device by default": lambda: torch.device("meta"),
    "a limit of Pillow": pillow_limits,
    "warnings as errors": lambda: warnings.catch_warnings(action="error"),
    "numpy errors": lambda: np.errstate(all="raise"),
    "no gradients": torch.no_grad,
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_results_do_not_depend_on_the_settings(settings, run, pets):
    expected = answer(run, pets)
    with settings():
        assert answer(run, pets) == expected


def test_create_model_follows_the_defaults_of_torch():
    with default_dtype(torch.float64), torch.device("meta"):
        parameter = next(mixlab.create_model("mixer_nano").parameters())
    assert (parameter.dtype, parameter.device.type) == (torch.float64, "meta")


def test_a_truncated_image_is_unreadable_even_if_pillow_loads_such_images(monkeypatch, tmp_path):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    content = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(content, "png")
    with pytest.raises(UnreadableImage, match="truncated"):
        read_image(content.getvalue()[:1000])
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_heic_image_is_read_without_a_change_of_pillow():
    pillow_heif = pytest.importorskip("pillow_heif", reason='needs pip install "mixlab[data]"')
    content = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 64), "red")).save(content)
    code = (
        "import sys; from PIL import Image; from mixlab.data.image_file import read_image\n"
        "print(read_image(sys.stdin.buffer.read()).shape, 'HEIF' in Image.OPEN)"
    )
    ended = subprocess.run([sys.executable, "-c", code], input=content.getvalue(), capture_output=True, check=True)
    assert ended.stdout.split() == b"(64, 64, 3) False".split()


def test_the_pixel_limit_applies_to_heic_images(monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif", reason='needs pip install "mixlab[data]"')
    monkeypatch.setattr(image_file, "MAX_PIXELS", 64 * 64 - 1)
    content = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 64), "red")).save(content)
    with pytest.raises(UnreadableImage, match="it has more than 4,095 pixels"):
        read_image(content.getvalue())


class TestThreads:
    def test_predictions_in_eight_threads_are_equal_and_change_no_setting(self, run, pets):
        predictor = mixlab.Predictor(run.path, device="cpu")
        images = sorted(pets.rglob("*.png"))
        expected = [one.probabilities.tolist() for one in map(predictor, images)]
        before = process_state()
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda number: predictor(images[number % len(images)]), range(5 * len(images))))
        assert [one.probabilities.tolist() for one in found] == expected * 5
        assert process_state() == before

    def test_the_first_thread_enters_a_shared_context_and_the_last_one_leaves_it(self):
        events: list[str] = []

        @contextmanager
        def recorded() -> Iterator[None]:
            events.append("entered")
            yield
            events.append("left")

        shared = SharedContext(recorded)
        first, second = (iter(within(shared)) for _ in range(2))
        next(first)
        next(second)
        next(first, None)
        assert events == ["entered"]
        next(second, None)
        assert events == ["entered", "left"]
        with shared:
            assert events == ["entered", "left", "entered"]


def within(context: SharedContext) -> Iterator[None]:
    with context:
        yield
