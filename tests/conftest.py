"""Fixtures that several folders of tests share."""

import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mixlab.data import near_duplicate_groups
from mixlab.data.dataset import Dataset, Split

pytest_plugins = ["loopback", "browser"]  # in this order, because the second imports the first

DEAREST = (
    "test_documents.py",
    "test_main_job.py",
    "test_benchmarks.py",
    "test_kills.py",
    "test_ray_workers.py",
    "test_zoo.py",
    "test_dense.py",
)
"""The files that take the longest. They run first, so that no worker has only one of them left at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: DEAREST.index(item.path.name) if item.path.name in DEAREST else len(DEAREST))


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_not_ignored() -> None:
    """A shell starts background jobs with SIGINT ignored, which the processes of the tests would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def cache_of_near_duplicates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache of this test."""
    folder = tmp_path.with_name(f"{tmp_path.name}-near-duplicates")
    monkeypatch.setattr(near_duplicate_groups, "cache_folder", lambda: folder)


@pytest.fixture(autouse=True)
def timings_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the timings of autotuning: empty, and of this test only."""
    folder = tmp_path.with_name(f"{tmp_path.name}-cache")
    monkeypatch.setattr("mixlab.training.planning.autotune.cache_folder", lambda: folder)
    return folder / "timings"


@pytest.fixture(autouse=True)
def network_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of converted networks: empty, and of this test only."""
    folder = tmp_path.with_name(f"{tmp_path.name}-cache")
    monkeypatch.setattr("mixlab.speed.network_cache.cache_folder", lambda: folder)
    return folder / "networks"


@pytest.fixture(autouse=True)
def no_message_about_slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autotuning announces slow steps, which would make the output of a command depend on the load of the machine."""
    monkeypatch.setattr("mixlab.training.planning.autotune._LONG", math.inf)


@pytest.fixture(autouse=True)
def stock_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """All jobs are short, so that the plan of an evaluation does not depend on the load of the machine."""
    monkeypatch.setattr("mixlab.speed.inference._SHORT", math.inf)


@pytest.fixture
def bf16_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 is among the modes to try, whatever the processor."""
    for module in ("plan", "inference"):
        monkeypatch.setattr(f"mixlab.speed.{module}.bf16_can_be_faster", lambda device: True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the CIFAR-10 archive and the ReaL labels, which are too large for the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MIXLAB_DATA", beside))
    if not folder.is_dir():
        pytest.skip("needs the data of $MIXLAB_DATA or ../shared/data, and neither is here")
    return folder


@pytest.fixture
def no_shape_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile can't trace through the checks that jaxtyping adds in tests."""
    from jaxtyping import config

    monkeypatch.setattr(config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def shades() -> Dataset:
    """In memory: dark and light images of 8x8 pixels; 40 for training, 12 for validation and 12 for the test."""
    random = np.random.default_rng(0)

    def split(name: str, n_images: int) -> Split:
        labels = np.arange(n_images) % 2
        images = 60 + 120 * labels[:, None, None, None] + random.integers(-40, 40, size=(n_images, 8, 8, 3))
        return Split([f"{name}/{i}" for i in range(n_images)], labels, list(images.astype(np.uint8)))

    splits = {"train": split("train", 40), "validation": split("validation", 12), "test": split("test", 12)}
    return Dataset("shades", ("dark", "light"), splits)


@pytest.fixture
def tiny_recipe() -> dict[str, Any]:
    """Six steps (1.2 epochs) of a Mixer with one block of eight channels, without timed compute modes."""
    return {
        "model": "mixer_nano",
        "data": "shades",
        "image_size": 8,
        "steps": 6,
        "batch": 8,
        "speed": "off",
        "config": {"patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 16, "depth": 1},
        "optimizer": {"learning_rate": 1e-2, "weight_decay": 0.05},
    }


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Class folders without splits: twenty dark cats and twenty light dogs of 8x8 pixels."""
    random = np.random.default_rng(0)
    for label, brightness in (("cat", 60), ("dog", 190)):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(20):
            pixels = brightness + random.integers(-40, 40, size=(8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pets" / label / f"{number:02d}.png")
    return tmp_path / "pets"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Class folders: 24 dark cats, 16 light dogs and 12 red apples of 72x80 pixels; two cats are copies."""
    random = np.random.default_rng(0)
    folder = tmp_path / "photographs"
    for label, colour, count in (("apple", (180, 60, 60), 12), ("cat", (70, 70, 70), 24), ("dog", (180, 180, 180), 16)):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = random.normal(colour, 20, (72, 80, 3)) + random.normal(0, 25)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / label / f"{number:02d}.png")
    shutil.copy(folder / "cat" / "00.png", folder / "cat" / "01.png")
    return folder


@pytest.fixture
def default_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Random weights instead of the default weights of a comparison: Cards with nano models, and a timm network.

    Their files are in the cache, and all caches are below `tmp_path`.
    """
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')

    from mixlab.comparison import compare_pretrained
    from mixlab.evaluation.probes import features
    from mixlab.weights import source
    from mixlab.zoo import cards
    from mixlab.zoo.architecture import create_model
    from mixlab.zoo.cards import Card, CardSource, Expected
    from mixlab.zoo.sizes import find_size

    made = []
    for family in ("mixer", "convmixer", "davit"):
        size = find_size(f"{family}_nano")
        model = create_model(size.name)
        place = tmp_path / "cache" / "weights" / f"{size.name}.test" / "weights.safetensors"
        place.parent.mkdir(parents=True)
        save_file(model.state_dict(), place)
        made.append(
            Card(
                name=f"{size.name}.test",
                size=size.name,
                family=family,
                config={**size.config, "classes": model.config.classes},
                parameters=size.parameters,
                macs=size.macs,
                paper=size.paper,
                labels="imagenet-1k",
                licence="",
                provenance=f"Random weights of a {family}.",
                preprocess={"image_size": [32, 32], "resize": "shorter_side", "crop_fraction": 0.9}
                | {"interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
                sources=(CardSource("url", "http://127.0.0.1:9/weights", place.name, "mixlab", "unknown"),),
                expected=(Expected("top1", 50.0, "nobody", "ImageNet-1k validation"),),
            )
        )
    hub = tmp_path / "hub"
    hub.mkdir()
    save_file(timm.create_model("test_resnet").state_dict(), hub / "model.safetensors")
    monkeypatch.setattr(cards, "_cards", lambda: tuple(made))
    monkeypatch.setattr(compare_pretrained, "CNN", "timm:test_resnet.r160_in1k")
    monkeypatch.setattr(source, "cached_weights", {"timm/test_resnet.r160_in1k": hub}.get)
    for module in (source, features):
        monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    return [*(card.name for card in made), compare_pretrained.CNN]
