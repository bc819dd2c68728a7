"""Run folders: the files of one training, and its state.

status.json         {"format", "state": "running" | "stopped" | "done", "bytes": the sizes of the other files}
recipe.toml         the resolved recipe, with all defaults
plan.json           device, precision, layout and micro-batch, selected before step 0
environment.json    versions, commit, device
data.json           class names, and the number of images in each split
split.json          the names of the images in each split, if mixlab made the splits
journal.jsonl       a line every few steps and a line per epoch
checkpoints/        the state of the training after its last steps, and the best weights
report.html         curves and metrics of the training, also while it runs
postmortem.json     the step at which the loss was no longer finite
model.safetensors   the weights with the best validation accuracy; without validation, those of the last step
config.json         the model's family, its complete config, class names, preprocessing
training_images.safetensors
                    digests of the images that the weights have learned from: mixlab.evaluation.training_images
predictions/*.npy   the predicted classes of test images, in studies; the names are fingerprints of the data
novelty.safetensors features of training images, to flag images that are unlike them: mixlab.evaluation.novelty; only
                    with enough validation images
"""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w

from mixlab.errors import UserError
from mixlab.files import atomic_folder, require_writable, translate_read_errors, write_json, write_text

FORMAT = 1
State = Literal["running", "stopped", "done"]


@dataclass(frozen=True, slots=True)
class Run:
    """The folder of a training. Every property reads its file; raises UserError if that is missing or damaged."""

    path: Path

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def training_images(self) -> Path:
        """The record of `mixlab.evaluation.training_images`, which runs of older versions lack."""
        return self.path / "training_images.safetensors"

    @property
    def novelty(self) -> Path:
        """The detector of `mixlab.evaluation.novelty`, which many runs lack."""
        return self.path / "novelty.safetensors"

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
        """Whether the folder has a finished training."""
        return (self.path / "status.json").exists() and self.state == "done"

    @property
    def is_unfinished(self) -> bool:
        """Whether the folder has a training that can be resumed."""
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
        """The names of the images in each split; None if the dataset has splits of its own."""
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
        """Raises UserError if a file is missing or has another size than recorded, as after an interrupted copy."""
        sizes = self._status().get("bytes")
        if sizes is None:
            raise UserError(f"{self.path / 'status.json'} does not contain the sizes of the run's files: train again.")
        for name, written in sizes.items():
            file = self.path / name
            actual = f"has {file.stat().st_size:,} bytes" if file.is_file() else "is missing"
            if actual != f"has {written:,} bytes":
                raise UserError(
                    f"{self.path} is incomplete: {name} {actual}, but the run wrote {written:,} bytes. Copy the whole "
                    "folder again, or train again."
                )

    def _status(self) -> dict[str, Any]:
        status = self._parsed("status.json", json.loads)
        if not (isinstance(status, dict) and {"format", "state"} <= status.keys()):
            raise UserError(
                f"{self.path} is not a run's folder: its status.json was not written by mixlab. "
                "Give the folder that mixlab train printed."
            )
        return status

    def _read(self, name: str, parse: Callable[[str], Any]) -> Any:
        """Parse a file, and check its size: a truncated recipe may still be valid TOML."""
        return self._parsed(name, parse, self._status().get("bytes", {}).get(name))

    def _parsed(self, name: str, parse: Callable[[str], Any], length: int | None = None) -> Any:
        """Parse a file. `length` is its expected size in bytes, or None."""
        try:
            with translate_read_errors(self.path / name):
                content = (self.path / name).read_bytes()
            parsed = parse(content.decode())
            if length not in (None, len(content)):
                raise ValueError(f"it has {len(content):,} bytes, but the run wrote {length:,}")
            return parsed
        except FileNotFoundError as error:
            raise UserError(
                f"{self.path} is incomplete: {name} can't be read. Copy the whole folder again, or train again."
            ) from error
        except ValueError as error:
            raise UserError(
                f"{self.path / name} is damaged ({error}): it was truncated or edited. "
                "Copy the run again, or train again."
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
    """Create the folder of a training before its first step.

    path              new or empty
    recipe            resolved
    plan              from `Plan.to_dict`
    environment       from `mixlab.measure.machine.describe`
    data              class names and numbers of images
    split_assignment  the names of the images in each split; None if the dataset has splits of its own
    code              source files of the user by their names in the folder

    Raises UserError if the folder is in use.
    """
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
    """Raises UserError if `path` contains a finished run, or files that are not a run, or can't be written."""
    if path.is_file():
        raise UserError(f"{path} is a file, but a run needs a new folder: give another path.")
    if path.exists() and any(path.iterdir()):
        if not (path / "status.json").exists():
            raise UserError(f"{path} already exists and is not a run's folder: give a new or empty folder.")
        if Run(path).state == "done":
            raise UserError(
                f"{path} contains a finished run, which is never overwritten: remove it, or give another path."
            )
    require_writable(path)


def open_any_run(path: Path) -> Run:
    """Open a run in any state. Raises UserError if `path` is not a run's folder or has a newer format."""
    if not path.is_dir():
        raise UserError(f"There is no run at {path}: give the folder that mixlab train printed.")
    if not any(path.iterdir()):
        raise UserError(f"{path} is empty, so it is not a run's folder: give the folder that mixlab train printed.")
    if not (path / "status.json").exists():
        raise UserError(
            f"{path} is not a run's folder: it has no status.json. Give the folder that mixlab train printed."
        )
    run = Run(path)
    written = run._status()["format"]
    if written > FORMAT:
        raise UserError(
            f"{path} has format {written} of a newer mixlab, but this version reads formats up to {FORMAT}: upgrade "
            "mixlab."
        )
    return run


def open_run(path: Path) -> Run:
    """Open a finished, complete run, for example to evaluate it. Raises UserError if `path` has none."""
    run = open_any_run(path)
    if run.state != "done":
        raise UserError(
            f"The run at {path} is not finished, its state is {run.state}: finish it with mixlab train --resume {path}."
        )
    run.check_complete()
    return run
