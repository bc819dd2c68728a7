"""The description of the machine."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch

from mixlab.errors import UserError
from mixlab.measure import machine


@pytest.mark.parametrize(("cuda", "mps", "picked"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_fastest_type_of_device_is_picked(monkeypatch, cuda, mps, picked):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert machine.pick_device() == torch.device(picked)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1"])
def test_a_device_is_picked_by_name(name):
    assert machine.pick_device(name) == machine.pick_device(torch.device(name)) == torch.device(name)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("name", ["cuda:2", "gpu", "mps"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name):
    sentence = (
        rf'^The device "{name}" is not available: this machine has cpu, cuda, cuda:0, cuda:1\. Give one of these\.$'
    )
    with pytest.raises(UserError, match=sentence):
        machine.pick_device(name)


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
    (tmp_path / "project.py").touch()
    commit_all(tmp_path)
    module = tmp_path / "site-packages" / "machine.py"
    module.parent.mkdir()
    module.touch()
    monkeypatch.setattr(machine, "__file__", str(module))
    assert machine.commit() is None


@pytest.fixture
def checkout(monkeypatch, tmp_path) -> Path:
    """A checkout with one commit, from which mixlab seems to run."""
    module = tmp_path / "measure" / "machine.py"
    module.parent.mkdir()
    module.write_text("a = 1\n")
    monkeypatch.setattr(machine, "__file__", str(module))
    commit_all(tmp_path)
    return tmp_path


def commit_all(folder: Path) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (("init",), ("add", "."), (*identity, "commit", "-m", "first")):
        subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)


def test_a_clean_checkout_has_the_name_of_its_commit(checkout):
    assert re.fullmatch("[0-9a-f]{40}", machine.commit() or "")


@pytest.mark.parametrize("name", ["measure/machine.py", "new.py"], ids=["a tracked file", "a new file"])
def test_every_change_of_a_checkout_has_a_name_of_its_own(checkout, name):
    clean = machine.commit()
    names = []
    for text in ("a = 2\n", "a = 3\n", "a = 2\n"):
        (checkout / name).write_text(text)
        names.append(machine.commit())
    assert re.fullmatch(f"{clean}-dirty-[0-9a-f]{{12}}", names[0])
    assert names[0] == names[2] != names[1]


def test_the_output_of_a_missing_or_failing_program_is_none():
    assert machine._command_output("no-such-program") is None
    assert machine._command_output("git", "no-such-verb") is None
