"""TensorBoard and W&B beside the journal, through Accelerate's trackers; their files stay in the run's folder.

tracking/tensorboard/   `tensorboard --logdir RUN/tracking` shows them
tracking/wandb/         kept offline: `wandb sync RUN/tracking/wandb/offline-run-*` sends them, if you want that
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
"""Numbers by name; a mapping in place of a number has more of them, and None has none."""


class Log(Protocol):
    def __call__(self, values: Values, step: int) -> None:
        """Show what was measured after `step`."""


def require_trackers(recipe: Recipe) -> None:
    """Raises UserError where a package is missing: to be asked before anything long begins, or is written."""
    for name in recipe.trackers:
        if find_spec(name) is None:
            raise UserError(
                f'track asks for "{name}", which is not installed: `pip install "mixlab[track]"` does so, or leave it '
                "out of track."
            )


@contextmanager
def tracked(recipe: Recipe, folder: Path, accelerator: Accelerator, *, step: int = 0) -> Iterator[Log]:
    """What the recipe's `trackers` names hears of all that is logged; only the first process speaks.

    `step`: where the training begins or goes on. What TensorBoard was told of later steps before an interruption is
    struck out; W&B, which can't do that offline, gets another run in the same group.
    """
    with ExitStack() as stack:
        started: list[GeneralTracker] = []
        for name in recipe.trackers if accelerator.is_main_process else ():
            started.append(_STARTED[name](recipe, folder / "tracking", step))
            stack.callback(started[-1].finish)

        def log(values: Values, step: int) -> None:
            for tracker in started:
                tracker.log(_flat(values), step=step)

        yield log


def _tensorboard(recipe: Recipe, folder: Path, step: int) -> GeneralTracker:
    tracker = TensorBoardTracker("tensorboard", folder, purge_step=step + 1)
    tracker.start()
    tracker.log({"recipe": indent(tomli_w.dumps(recipe.to_dict()), "    ")}, step=step)  # indented, it is shown as code
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


_STARTED = {"tensorboard": _tensorboard, "wandb": _wandb}


def _flat(values: Values, above: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}/")
        elif value is not None:
            flat[f"{above}{name}"] = value
    return flat
