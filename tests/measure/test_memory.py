"""Peak memory of this process, and available memory."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mixlab.measure import memory
from mixlab.measure.memory import available_bytes

CPU = torch.device("cpu")


PEAK = """
import psutil, torch
from mixlab.measure.memory import peak_bytes

before = peak_bytes(torch.device("cpu"))
already_free = before - psutil.Process().memory_info().rss
block = bytearray(already_free + 200_000_000)
del block
print(peak_bytes(torch.device("cpu")) - before)
"""


def test_the_peak_includes_freed_memory():
    """In a new process: another test may have configured the allocator of this one."""
    finished = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert 150_000_000 < int(finished.stdout) < 250_000_000


class TestControlGroups:
    @pytest.fixture
    def groups(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The folder of the control groups of a machine with 9,000 bytes; this process is in none."""
        monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
        monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "own")
        monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=9000))
        return tmp_path / "groups"

    @staticmethod
    def add(folder: Path, limit: str, used: int = 2000) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 1000\ninactive_file 300\nactive_file 40\n")

    @pytest.mark.usefixtures("groups")
    def test_without_one_all_of_the_machine_s_memory_is_available(self):
        assert available_bytes() == 9000

    @pytest.mark.parametrize(("limit", "available"), [("5000", 3340), ("max", 9000), ("20000", 9000)])
    def test_the_limit_of_a_container_applies_without_its_cached_files(self, groups, tmp_path, limit, available):
        (tmp_path / "own").write_text("0::/\n")
        self.add(groups, limit)
        assert available_bytes() == available

    def test_the_lowest_limit_of_the_groups_around_a_process_applies(self, groups, tmp_path):
        (tmp_path / "own").write_text("0::/job_1/step_0/task_0\n")
        self.add(groups / "job_1", "6000")
        self.add(groups / "job_1" / "step_0", "5000", used=1000)
        self.add(groups / "job_2", "2500")
        assert available_bytes() == 4340

    def test_version_1_has_other_files(self, groups, tmp_path):
        (tmp_path / "own").write_text("9:name=systemd:/\n4:memory:/job_1\n3:cpuset:/\n0::/\n")
        folder = groups / "memory" / "job_1"
        folder.mkdir(parents=True)
        (folder / "memory.limit_in_bytes").write_text("5000\n")
        (folder / "memory.usage_in_bytes").write_text("2000\n")
        (folder / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 40\n")
        assert available_bytes() == 3340


@pytest.mark.long
def test_a_process_does_not_report_the_peak_of_its_parent():
    """getrusage on Linux would."""
    block = bytearray(1_500_000_000)
    code = "import torch; from mixlab.measure.memory import peak_bytes; print(peak_bytes(torch.device('cpu')))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(finished.stdout) < len(block)
