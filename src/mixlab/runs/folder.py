"""The folder of one training: what is in it, what state it is in, and how it is opened again.

status.json         {"format", "state": "running" | "stopped" | "done", "bytes": how large each other file was then}
recipe.toml         the recipe, resolved: nothing in it is left to a default
plan.json           device, precision, layout, micro-batch: decided before step 0
environment.json    versions, commit, device
data.json           the classes, and how many images each part had
split.json          which images each part holds, where the data did not come cut
journal.jsonl       a line every few steps and a line an epoch
checkpoints/        the state of the training at its last steps, and the best weights
report.html         curves and figures of the training, also while it runs
postmortem.json     the step at which the loss became no number
model.safetensors   the weights: best by validation where there is one, else last
config.json         the model's family and every field of its config, class names, preprocessing
"""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w

from mixlab.errors import UserError
from mixlab.files import atomic_folder, write_json, write_text

FORMAT = 1
State = Literal["running", "stopped", "done"]


@dataclass(frozen=True, slots=True)
class Run:
    """A training's folder. Its parts are read when they are asked for."""

    path: Path

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def postmortem(self) -> Path:
        return self.path / "postmortem.json"

    @property
    def is_finished(self) -> bool:
        return (self.path / "status.json").exists() and self.state == "done"

    @property
    def is_unfinished(self) -> bool:
        """Whether a training was started here and can be resumed."""
        return (self.path / "status.json").exists() and self.state != "done"

    @property
    def state(self) -> State:
        return self._status()["state"]

    @property
    def recipe(self) -> dict[str, Any]:
        return self._read("recipe.toml", tomllib.loads)

    @property
    def plan(self) -> dict[str, Any]:
        return self._read("plan.json", json.loads)

    @property
    def environment(self) -> dict[str, Any]:
        return self._read("environment.json", json.loads)

    @property
    def data(self) -> dict[str, Any]:
        return self._read("data.json", json.loads)

    @property
    def split_assignment(self) -> dict[str, list[str]] | None:
        """The names of each part's images; None where the data came cut."""
        return self._read("split.json", json.loads) if (self.path / "split.json").exists() else None

    @property
    def config(self) -> dict[str, Any]:
        return self._read("config.json", json.loads)

    def set_state(self, state: State) -> None:
        """Write status.json with the state and the size of every other file."""
        files = [file for file in sorted(self.path.iterdir()) if file.is_file() and not file.name.startswith(".")]
        sizes = {file.name: file.stat().st_size for file in files if file.name != "status.json"}
        write_json(self.path / "status.json", {"format": FORMAT, "state": state, "bytes": sizes})

    def check_complete(self) -> None:
        """Raises UserError where a file is missing or cut off, as after a copy that was interrupted."""
        sizes = self._status().get("bytes")
        if sizes is None:
            raise UserError(f"{self.path / 'status.json'} does not say how large the run's files are: train again.")
        for name, written in sizes.items():
            file = self.path / name
            held = f"{file.stat().st_size:,} bytes" if file.is_file() else "nothing"
            if held != f"{written:,} bytes":
                raise UserError(
                    f"{self.path} holds {held} of {name}, where the run wrote {written:,} bytes: a run's folder is "
                    "whole or useless. Copy it anew, or train again."
                )

    def _status(self) -> dict[str, Any]:
        status = self._parsed("status.json", json.loads)
        if not (isinstance(status, dict) and {"format", "state"} <= status.keys()):
            raise UserError(
                f"{self.path} is no run's folder: its status.json is another program's. "
                "Give the folder that mixlab train printed."
            )
        return status

    def _read(self, name: str, parse: Callable[[str], Any]) -> Any:
        """Of one that is as long as the run has left it: a recipe that was cut off may still be TOML."""
        return self._parsed(name, parse, self._status().get("bytes", {}).get(name))

    def _parsed(self, name: str, parse: Callable[[str], Any], length: int | None = None) -> Any:
        """`length` in bytes, where it is known."""
        try:
            content = (self.path / name).read_bytes()
            parsed = parse(content.decode())
            if length not in (None, len(content)):
                raise ValueError(f"it holds {len(content):,} bytes, where the run wrote {length:,}")
            return parsed
        except OSError as error:
            raise UserError(
                f"{self.path} has no readable {name}: a run's folder is whole or useless. Train again, or copy it anew."
            ) from error
        except ValueError as error:
            raise UserError(
                f"{self.path / name} is broken ({error}): it was cut off or changed by hand. "
                "Train again, or copy the run anew."
            ) from error


def start_run(
    path: Path,
    recipe: dict[str, Any],
    plan: dict[str, Any],
    environment: dict[str, Any],
    data: dict[str, Any],
    split_assignment: dict[str, list[str]] | None,
    code: Mapping[str, str] | None = None,
) -> Run:
    """Lay out the folder of a training before its first step. `code`: source files by their names in the folder."""
    require_free_folder(path)
    with atomic_folder(path) as temporary:
        write_text(temporary / "recipe.toml", tomli_w.dumps(recipe))
        write_json(temporary / "plan.json", plan)
        write_json(temporary / "environment.json", environment)
        write_json(temporary / "data.json", data)
        if split_assignment is not None:
            write_json(temporary / "split.json", split_assignment)
        for name, source in (code or {}).items():
            write_text(temporary / name, source)
        Run(temporary).set_state("running")
    return Run(path)


def require_free_folder(path: Path) -> None:
    """Refuse to write where something else lies: a finished run, or what is no run at all."""
    if path.is_file():
        raise UserError(f"{path} is a file: a run needs a folder of its own. Give another path.")
    if not path.exists() or not any(path.iterdir()):
        return
    if not (path / "status.json").exists():
        raise UserError(f"{path} holds something else: a run needs a folder of its own. Give another path.")
    if Run(path).state == "done":
        raise UserError(f"{path} holds a finished run, which is never overwritten: remove it, or give another path.")


def open_any_run(path: Path) -> Run:
    """A run in whatever state. Raises UserError where the folder is none."""
    if not path.is_dir():
        raise UserError(f"There is no run at {path}: give the folder that mixlab train printed.")
    if not any(path.iterdir()):
        raise UserError(f"{path} is empty: a run's folder holds status.json, recipe.toml and more.")
    if not (path / "status.json").exists():
        raise UserError(f"{path} is no run's folder: it has no status.json. Give the folder that mixlab train printed.")
    run = Run(path)
    written = run._status()["format"]
    if written > FORMAT:
        raise UserError(
            f"{path} was written in format {written} by a newer mixlab: this one reads up to {FORMAT}. Upgrade mixlab."
        )
    return run


def open_run(path: Path) -> Run:
    """A finished run, to be judged or asked. Raises UserError where the folder is none."""
    run = open_any_run(path)
    if run.state != "done":
        raise UserError(f"The run at {path} is not finished (it says {run.state}): train it to its end first.")
    run.check_complete()
    return run
