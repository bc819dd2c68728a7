"""Experiment trackers: log to TensorBoard and W&B, with Accelerate's trackers, into the run's folder.

tracking/tensorboard/   view with `tensorboard --logdir RUN/tracking`
tracking/wandb/         offline; upload with `wandb sync RUN/tracking/wandb/offline-run-*`
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent
from typing import Any, Protocol

import tomli_w
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker

from mixlab.errors import UserError
from mixlab.training.recipes.schema import Recipe

Values = Mapping[str, Any]
"""Numbers by name. Mappings may be nested; None means that there is no value."""


class LogValues(Protocol):
    def __call__(self, values: Values, step: int) -> None:
        """Log the values measured after `step`."""


def require_trackers(recipe: Recipe) -> None:
    """Raises UserError if the package of a tracker is not installed. Call it before the training starts."""
    for name in recipe.trackers:
        if find_spec(name) is None:
            raise UserError(
                f'trackers contains "{name}", which is not installed: run `pip install "mixlab[track]"`, or remove it '
                "from trackers."
            )


@contextmanager
def tracked(recipe: Recipe, folder: Path, accelerator: Accelerator, *, step: int = 0) -> Iterator[LogValues]:
    """A function that logs to the trackers of the recipe. Only the main process logs.

    recipe       its `trackers` are started, and the recipe itself is logged
    folder       the run's folder
    step         0, or the step that the training resumes from

    TensorBoard discards values of later steps from before an interruption. W&B can't do that offline, so a resumed
    training is a new W&B run in the same group.
    """
    with ExitStack() as stack:
        started: list[GeneralTracker] = []
        for name in recipe.trackers if accelerator.is_main_process else ():
            started.append(_START[name](recipe, folder / "tracking", step))
            stack.callback(started[-1].finish)

        def log(values: Values, step: int) -> None:
            for tracker in started:
                tracker.log(_flat(values), step=step)

        yield log


def _tensorboard(recipe: Recipe, folder: Path, step: int) -> GeneralTracker:
    tracker = TensorBoardTracker("tensorboard", folder, purge_step=step + 1)
    tracker.start()
    tracker.log(
        {"recipe": indent(tomli_w.dumps(recipe.to_dict()), "    ")}, step=step
    )  # indented text is shown as code
    return tracker


def _wandb(recipe: Recipe, folder: Path, step: int) -> GeneralTracker:
    folder.mkdir(exist_ok=True)
    tracker = WandBTracker(
        "mixlab",
        group=folder.parent.name,
        config=recipe.to_dict(),
        dir=folder,
        mode="offline",
        settings={"silent": True, "console": "off"},
    )
    tracker.start()
    return tracker


_START = {"tensorboard": _tensorboard, "wandb": _wandb}


def _flat(values: Values, prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}/")
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat
