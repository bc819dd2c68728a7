"""The process of a training ends soon after its parent process, even if the parent was killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

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
