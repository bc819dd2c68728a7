"""The processes of a training end soon after their parent process, or after an error in one of them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

HOLD = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from mixlab.training.processes import _end_with_parent

def hold():
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_end_with_parent) as pool:
        pool.submit(hold).result()
"""


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(
            "forkserver",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server"),
        ),
        "spawn",
    ],
)
def test_a_training_ends_after_its_parent_was_killed(tmp_path: Path, method: str):
    script = tmp_path / "hold.py"
    script.write_text(HOLD.format(method=method))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.long
def test_an_error_in_one_of_two_processes_ends_both_with_its_sentence(tmp_path: Path):
    rng = np.random.default_rng(0)
    for number in range(60):
        file = tmp_path / "pets" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
        if number == 29:  # a training image
            file.write_bytes(file.read_bytes()[:100])
    config = "config={channels = 8, token_hidden = 8, channel_hidden = 8, depth = 1}"
    settings = ("image_size=16", "epochs=2", "batch=8", "speed=off", config)
    command = [Path(sys.executable).with_name("torchrun"), "--nproc_per_node", "2", "-m", "mixlab", "train", "--quiet"]
    command += ["--data", "folder:pets", "--model", "mixer_nano", "--out", "run"]
    command += [word for setting in settings for word in ("--set", setting)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode != 0
    assert "29.png can't be read: it is damaged or truncated" in ended.stderr
    assert "exitcode  : 2" in ended.stderr  # of the process with the error, as for a single process
    assert not (tmp_path / "run").exists()
