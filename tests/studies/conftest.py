"""Runs studies in this process, with fixed times of steps and a separate store; models in files of the user."""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from inline import Start, train_inline
from mixlab.data.dataset import Dataset
from mixlab.data.sources import Kind, open_dataset
from mixlab.evaluation.probes import features
from mixlab.speed.plan import ComputeMode
from mixlab.training import recipe_data, runner
from mixlab.training.job import Job
from mixlab.training.linear_probe.train import LinearProbeJob
from mixlab.training.planning import autotune
from mixlab.training.planning.autotune import Timings
from mixlab.training.training import Training
from mixlab.zoo import user_code

GUIDE = Path(__file__).parents[2] / "docs" / "your_own_block.md"

GATED = """
import torch
from einops import rearrange
from torch import nn

from mixlab.models.mixer import Mixer, MixerConfig


class Gate(nn.Module):
    def __init__(self, tokens):
        super().__init__()
        self.places = nn.Linear(tokens, tokens)

    def forward(self, x):
        return x * self.places(x.mT).mT


class Block(nn.Module):
    def __init__(self, config, rate):
        super().__init__()
        channels, tokens = config.channels, config.patches + 1
        self.gate = Gate(tokens)
        self.transposed = nn.Linear(tokens, tokens)
        self.branches = nn.ModuleList([nn.Linear(channels, channels), nn.ReLU(inplace=True)])
        self.pair = nn.Bilinear(channels, channels, channels)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        x = self.gate(x) + self.transposed(x.mT).mT
        return sum(branch(x.clone()) for branch in self.branches) + self.drop(self.pair(x, x))


class Gated(Mixer):
    def __init__(self, config: MixerConfig):
        super().__init__(config, Block)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.channels))

    def tokens(self, images):
        patches = rearrange(self.stem(images), "batch channel row column -> batch (row column) channel")
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        return self.norm(self.body(tokens))[:, 1:]


def without_blocks(config: MixerConfig):
    return Mixer(config, lambda config, rate: nn.Identity())


def of_one_size(config: MixerConfig):
    return Mixer(config, lambda config, rate: nn.LayerNorm([16, 16]))
"""


@dataclass
class Laboratory:
    """`started`: all trainings, in the order of their start. `datasets`: datasets in memory, by name."""

    started: list[Training] = field(default_factory=list)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    start: Start = runner._start  # the original, without the patches of the tests

    @property
    def jobs(self) -> list[Job]:
        """The jobs with steps, without linear probes."""
        return [training.job for training in self.started if isinstance(training.job, Job)]

    @property
    def probes(self) -> list[LinearProbeJob]:
        return [training.job for training in self.started if isinstance(training.job, LinearProbeJob)]

    def open(self, name: str, kinds: Mapping[str, Kind], *, quiet: bool) -> Dataset:
        return self.datasets[name] if name in self.datasets else open_dataset(name, kinds, quiet=quiet)

    def train(self, training: Training, *, waits: bool) -> Future[None]:
        self.started.append(training)
        return train_inline(training, waits=waits)


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    folder, made = tmp_path_factory.mktemp("store"), Laboratory()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIXLAB_RUNS", str(folder))
        patch.setattr(features, "cache_folder", lambda: folder / "cache")
        patch.setattr(autotune, "cache_folder", lambda: folder / "cache")
        patch.setattr(autotune, "time_job", fixed_times)
        patch.setattr(runner, "_start", made.train)
        patch.setattr(recipe_data, "open_dataset", made.open)
        yield made


@pytest.fixture(autouse=True)
def timings_cache(laboratory: Laboratory) -> None:
    """The cache of the timings is that of the laboratory, which all tests of a module share."""


def fixed_times(job: Job, log: Any, processes: int = 1) -> Timings:
    return Timings(job.batch, "released", {ComputeMode(): 0.1})


@pytest.fixture
def my_mixer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The model of the guide to your own block, which has as many patches as channels."""
    monkeypatch.setattr(user_code, "cache_folder", lambda: tmp_path / "cache")
    (code,) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), flags=re.M | re.S)
    (tmp_path / "my_mixer.py").write_text(code, encoding="utf-8")
    return f"py:{tmp_path / 'my_mixer.py'}:MyMixer"


@pytest.fixture
def gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One block of 16 patches, 16 channels and a class token; replace the name to get another model of the file."""
    monkeypatch.setattr(user_code, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "gated.py").write_text(GATED, encoding="utf-8")
    sizes = "image_size=16:patch_size=4:channels=16:token_hidden=16:channel_hidden=16:depth=1"
    return f"py:{tmp_path / 'gated.py'}:Gated:{sizes}"
