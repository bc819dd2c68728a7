"""The description of the machine."""

import json

import pytest
import torch

from mixlab.measure import machine


@pytest.mark.parametrize(("cuda", "mps", "picked"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_fastest_type_of_device_is_picked(monkeypatch, cuda, mps, picked):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert machine.pick_device() == torch.device(picked)


def test_the_description_is_json_serializable():
    described = machine.describe(torch.device("cpu"))
    assert json.loads(json.dumps(described)) == described


def test_the_name_of_a_cpu_includes_its_usable_cores(monkeypatch):
    monkeypatch.setattr(machine, "processor", lambda: "Example 9000")
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    assert machine.device_name(torch.device("cpu")) == "Example 9000, 3 cores"


def test_versions_lists_installed_packages_only(monkeypatch):
    monkeypatch.setattr(machine, "_PACKAGES", ("torch", "no-such-package"))
    assert set(machine.versions()) == {"python", "torch"}


def test_the_commit_is_none_if_the_repository_does_not_track_the_package(monkeypatch, tmp_path):
    """For example in a virtual environment inside another repository."""
    module = tmp_path / "site-packages" / "machine.py"
    module.parent.mkdir()
    module.touch()
    machine._command_output("git", "init", str(tmp_path))
    monkeypatch.setattr(machine, "__file__", str(module))
    assert machine.commit() is None


def test_the_output_of_a_missing_or_failing_program_is_none():
    assert machine._command_output("no-such-program") is None
    assert machine._command_output("git", "no-such-verb") is None
