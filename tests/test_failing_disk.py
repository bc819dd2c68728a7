"""Files on a disk that fails while they are read: the reason is named, and nothing is called damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mixlab.data.image_file import UnreadableImage, read_image
from mixlab.data.inspection.check import _read_info
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.evaluation.novelty import read_novelty_detector
from mixlab.evaluation.training_images import read_training_images
from mixlab.runs.checkpoints import Checkpoints
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.weights.storage.weights_file import open_weights_file

MEMORY = Path("/proc/self/mem")  # it can be opened, but address 0 can't be read: EIO, without a file name
REASON = "the disk reports an input/output error: check the disk or choose another one"

pytestmark = pytest.mark.skipif(not MEMORY.exists(), reason="needs the /proc of Linux")


@pytest.fixture
def failing(tmp_path: Path) -> Callable[[str], Path]:
    """A function that makes a file in which reading fails."""

    def make(name: str) -> Path:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(MEMORY)
        return tmp_path / name

    return make


@pytest.mark.parametrize("name", ["csv:pets.csv", "tar:pets.tar", "wds:pets.tar"])
def test_datasets(failing, name):
    kind, _, file = name.partition(":")
    path = failing(file)
    with pytest.raises(UserError, match=f"{path} can't be read: {REASON}"):
        open_dataset(f"{kind}:{path}")


def test_images(failing):
    path = failing("a.png")
    with pytest.raises(UnreadableImage) as caught:
        read_image(path)
    assert str(caught.value) == f"{path} can't be read: {REASON}."
    assert _read_info(path) == REASON


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.npz"])
def test_weights(failing, name):
    path = failing(name)
    with pytest.raises(UserError, match=f"^{path} can't be read: {REASON}"):
        open_weights_file(path)


def test_the_files_of_a_run(failing):
    run = Run(failing("run/status.json").parent)
    with pytest.raises(UserError, match=f"status.json can't be read: {REASON}"):
        _ = run.is_finished
    with pytest.raises(UserError, match=f"journal.jsonl can't be read: {REASON}"):
        read_history(failing("run/journal.jsonl"))


def test_a_path_that_is_refused_is_not_a_damaged_checkpoint(tmp_path):
    """It would be unwise to remove it."""
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    names = ("step-00000004", "best", "training_images", "novelty")
    for name in (f"{name}.safetensors" for name in names):
        (tmp_path / "run/checkpoints" / name).symlink_to(name)
    checkpoints = Checkpoints(tmp_path / "run/checkpoints", keep=1, every_steps=None, every_seconds=None, writes=False)
    refused = "can't be read: its symbolic links form a loop"
    with pytest.raises(UserError, match=f"step-00000004.safetensors {refused}"):
        checkpoints.last()
    with pytest.raises(UserError, match=f"training_images.safetensors {refused}"):
        read_training_images(tmp_path / "run/checkpoints/training_images.safetensors")
    with pytest.raises(UserError, match=f"novelty.safetensors {refused}"):
        read_novelty_detector(tmp_path / "run/checkpoints/novelty.safetensors")
