"""An error of one of several processes ends all of them."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.distributed import DistNetworkError, distributed_c10d

from mixlab.errors import UserError
from mixlab.training import distributed
from mixlab.training.distributed import error_on_all_ranks
from ranks import run_python

INTERRUPTED = "Connection closed by peer"


@pytest.fixture
def two_processes(monkeypatch) -> None:
    """This process is one of two, with a store of its own."""
    store = torch.distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    monkeypatch.setattr(distributed, "PartialState", lambda: SimpleNamespace(num_processes=2))
    monkeypatch.setattr(distributed_c10d, "_get_default_store", lambda: store)


@pytest.mark.usefixtures("two_processes")
def test_the_error_of_one_process_is_raised_in_the_others():
    with pytest.raises(UserError, match=r"^a\.png can't be read$"), error_on_all_ranks():
        raise UserError("a.png can't be read")
    with pytest.raises(UserError, match=r"^a\.png can't be read$"), error_on_all_ranks():
        raise RuntimeError(INTERRUPTED)


@pytest.mark.usefixtures("two_processes")
def test_a_path_that_the_system_refuses_is_an_error_of_all_processes():
    with pytest.raises(UserError, match=r"^a\.png can't be accessed: you have no"), error_on_all_ranks():
        raise PermissionError(13, "Permission denied", "a.png")
    with pytest.raises(UserError, match=r"^a\.png can't be accessed: you have no"), error_on_all_ranks():
        raise RuntimeError(INTERRUPTED)


@pytest.mark.usefixtures("two_processes")
def test_errors_of_mixlab_keep_their_traceback():
    with pytest.raises(RuntimeError, match="a bug"), error_on_all_ranks():
        raise RuntimeError("a bug")


@pytest.mark.usefixtures("two_processes")
def test_without_the_store_of_process_0_its_output_is_named(monkeypatch):
    def unreachable(keys: list[str]) -> bool:
        raise DistNetworkError("Connection reset by peer")

    monkeypatch.setattr(distributed_c10d, "_get_default_store", lambda: SimpleNamespace(check=unreachable))
    with (
        pytest.raises(UserError, match=r"^Process 0 has ended: see its output for the reason\.$"),
        error_on_all_ranks(),
    ):
        raise RuntimeError(INTERRUPTED)


RECIPE = """
model = "mixer_nano"
data = "folder:pets"
image_size = 8
steps = 4
batch = 8
speed = "off"
workers = 0
config = {patch_size = 4, channels = 8, token_hidden = 8, channel_hidden = 16, depth = 1}
optimizer = {learning_rate = 0.01, weight_decay = 0.05}
"""


@pytest.fixture
def folder(pets: Path, tmp_path: Path) -> Path:
    """The pets with three splits, and a recipe."""
    pets.rename(tmp_path / "cats_and_dogs")
    for split in ("train", "val", "test"):
        shutil.copytree(tmp_path / "cats_and_dogs", tmp_path / "pets" / split)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize(
    ("image", "other"),
    [("cat/01.png", "pets/val/cat/01.png can't be read: .*"), ("cat/00.png", "Process 0 has ended: .*")],
    ids=["process 1", "process 0"],
)
def test_an_unreadable_image_of_one_process_ends_both(folder, image, other):
    """Each process reads every second validation image. There is no launcher that ends the other process."""
    (folder / "pets/val" / image).write_bytes(b"")
    command = ["-m", "mixlab", "train", "recipe.toml", "--device", "cpu", "--out", "runs/two"]
    ended = run_python(command, folder, processes=2)
    assert [process.status for process in ended] == [2, 2]
    messages = sorted(process.err.splitlines()[-1] for process in ended)
    assert f"mixlab: pets/val/{image} can't be read: it is empty." in messages
    assert any(re.fullmatch(f"mixlab: {other}", message) for message in messages)
    assert not any("Traceback" in process.err for process in ended)
    assert not (folder / "runs").exists()
