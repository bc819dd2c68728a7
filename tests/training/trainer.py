"""Trains in processes of their own, which are forked from one that has loaded the libraries and computed nothing.

A line of JSON on standard input asks for one training in as many processes as it has environments; answered are the
processes' numbers on a line, and their exit statuses on another.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mixlab import files
from mixlab.data.sources import open_dataset
from mixlab.errors import Interrupted, UserError
from mixlab.speed.plan import Plan
from mixlab.training import step
from mixlab.training.job import resolve
from mixlab.training.loop import train
from mixlab.training.recipes.parse import parse_training_recipe


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        children = [_forked(asked, environment) for environment in asked["environments"]]
        print(*children, flush=True)
        print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)


def _forked(asked: dict[str, Any], environment: dict[str, str]) -> int:
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        os._exit(_train(asked))
    return child


def _train(asked: dict[str, Any]) -> int:
    torch.set_num_threads(1)
    torch.set_default_dtype(getattr(torch, asked["dtype"]))
    if asked["signal"] == "in writing":
        files.os.fsync = _killing_at(asked["at"], files.os.fsync, "SIGKILL")
    elif asked["signal"]:
        step.accumulate_gradients = _killing_at(asked["at"], step.accumulate_gradients, asked["signal"])
    recipe = parse_training_recipe(asked["recipe"], "the test's")
    try:
        job = resolve(recipe, open_dataset(recipe.data, quiet=True), torch.device("cpu"))
        train(job, Plan.from_dict(asked["plan"]), Path(asked["folder"]), quiet=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return 75
    return 0


def _killing_at(number: int, function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`function`, which sends this process the signal the `number`th time that it is called."""
    calls = []

    def call(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), getattr(signal, name))
        return function(*arguments, **settings)

    return call


if __name__ == "__main__":
    main()
