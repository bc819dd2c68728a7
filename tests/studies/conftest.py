"""Runs studies in this process, with fixed times of steps and a separate store."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
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
