"""What a number was measured on."""

import json

import pytest
import torch

from mixlab.measure import machine


@pytest.mark.parametrize(("cuda", "mps", "picked"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_fastest_kind_of_device_is_picked(monkeypatch, cuda, mps, picked):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert machine.pick_device() == torch.device(picked)


def test_the_description_is_json():
    described = machine.describe(torch.device("cpu"))
    assert json.loads(json.dumps(described)) == described


def test_the_processor_is_named_with_the_cores_that_may_be_used(monkeypatch):
    monkeypatch.setattr(machine, "processor", lambda: "Example 9000")
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    assert machine.device_name(torch.device("cpu")) == "Example 9000, 3 cores"


def test_the_versions_are_those_of_what_is_installed(monkeypatch):
    monkeypatch.setattr(machine, "_PACKAGES", ("torch", "no-such-package"))
    assert set(machine.versions()) == {"python", "torch"}


def test_the_commit_is_none_where_the_repository_does_not_hold_the_package(monkeypatch, tmp_path):
    """As in somebody's virtual environment inside their own repository."""
    stranger = tmp_path / "site-packages" / "machine.py"
    stranger.parent.mkdir()
    stranger.touch()
    machine._summary("git", "init", str(tmp_path))
    monkeypatch.setattr(machine, "__file__", str(stranger))
    assert machine.commit() is None


def test_a_program_that_is_missing_or_fails_answers_nothing():
    assert machine._summary("no-such-program") is None
    assert machine._summary("git", "no-such-verb") is None
