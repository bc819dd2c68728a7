"""`compare` with real timings and real processes, one of which is killed."""

import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import psutil
import pytest

from mixlab.comparison.compare import compare
from mixlab.comparison.comparison import Comparison
from mixlab.comparison.settings import ComparisonSettings
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.runs.folder import Run

pytestmark = pytest.mark.long

MODELS = ("mixer_nano", "convmixer_nano")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "store"))
    return tmp_path / "store"


def compared(models: Sequence[str] = MODELS) -> Comparison:
    settings = ComparisonSettings(seeds=1, epochs=1, image_size=8)
    return compare(models, open_dataset("digits"), settings, quiet=True, log=lambda sentence: None)


def runs(store: Path, model: str) -> list[Run]:
    return [Run(path) for path in store.glob(f"{model}-digits-seed0-*")]


def test_two_models_are_trained_evaluated_timed_and_then_taken_from_the_store(store):
    first = compared()
    assert [run.state for model in MODELS for run in runs(store, model)] == ["done", "done"]
    for one in first.model_results:
        assert one.scores.shape == (1, 510)
        assert one.images_per_second.value > 0 and one.training_seconds.value > 0
        assert 2**20 < one.peak_bytes < psutil.virtual_memory().total
    again = compared()
    for name in MODELS:
        assert again[name].training_seconds == first[name].training_seconds
        assert (again[name].scores == first[name].scores).all()


def test_a_killed_training_is_a_user_error_and_finished_trainings_are_not_repeated(store):
    killed: list[int] = []
    killer = Thread(target=kill_the_training_of, args=("convmixer_nano", store, killed))
    killer.start()
    sentence = (
        r"^1 training of 2 failed; the results of the others are saved\. convmixer_nano, seed 0: "
        r"The training of convmixer_nano, seed 0 was killed .* Finished trainings are not repeated\.$"
    )
    with pytest.raises(UserError, match=sentence):
        compared()
    killer.join()
    assert len(killed) == 1
    (finished,) = runs(store, "mixer_nano")
    written = finished.weights.stat().st_mtime_ns
    assert compared().names == list(MODELS)
    assert finished.weights.stat().st_mtime_ns == written


def kill_the_training_of(model: str, store: Path, killed: list[int]) -> None:
    """Kill the process of a training as soon as it runs. It is a child of the fork server of this process."""
    patience = time.monotonic() + 120
    while time.monotonic() < patience:
        if any(run.state == "running" for run in runs(store, model)):
            for server in psutil.Process().children():
                for worker in server.children():
                    killed.append(worker.pid)
                    worker.kill()
            return
        time.sleep(0.01)
