"""The command in a process of its own, as in a shell: its lines in a pipe, and Ctrl-C."""

import os
import re
import signal
import subprocess
import sys

import pytest

EPOCH = re.compile(r"epoch 1 of 125000: loss \d\.\d{3}, validation top-1 \d+\.\d %, [\d,]+ images/s, about .+ left")


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups with Ctrl-C")
def test_ctrl_c_in_a_terminal_stops_a_training_and_its_workers_with_a_checkpoint(run, train, pets):
    settings = ("--set", "workers=2", "--set", "steps=500000", "--set", "augmentation.random_resized_crop={}")
    words = (*train, "--data", f"folder:{pets}", "--out", "stopped", *settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "mixlab", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    lines: list[str] = []
    while not (lines and lines[-1].startswith("epoch 1 ")):
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    assert EPOCH.fullmatch(lines[-1].rstrip("\n"))
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all processes of the command
    rest = process.communicate(timeout=120)[1]
    *epochs, sentence = rest.splitlines()
    assert all(line.startswith("epoch ") for line in epochs), rest
    assert re.fullmatch(
        r"mixlab: Stopped by Ctrl-C after step [\d,]+ of 500,000\. A checkpoint was written: continue with mixlab "
        "train --resume stopped",
        sentence,
    )
    assert process.returncode == 130
    assert list((pets.parent / "stopped/checkpoints").glob("step-*"))
