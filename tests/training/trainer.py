"""Runs trainings in processes that are forked from this one, which has loaded the libraries but computed nothing.

Each line of JSON on standard input starts one training, with one process for each of its environments. The replies are
one line with the process ids, and one line with the exit statuses.
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
from mixlab.data.preprocess import Preprocess
from mixlab.errors import Interrupted, UserError
from mixlab.speed.plan import Plan
from mixlab.training import step
from mixlab.training.job import resolve
from mixlab.training.loop import train
from mixlab.training.recipe_data import open_data
from mixlab.training.recipes.parse import parse_training_recipe


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        children = [_forked(request, environment) for environment in request["environments"]]
        print(*children, flush=True)
        print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)


def _forked(request: dict[str, Any], environment: dict[str, str]) -> int:
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        os._exit(_train(request))
    return child


def _train(request: dict[str, Any]) -> int:
    torch.set_num_threads(1)
    dtype = getattr(torch, request["dtype"])
    torch.set_default_dtype(dtype)
    Preprocess.normalised = _returning(dtype, Preprocess.normalised)
    if request["signal"] == "in writing":
        files.os.fsync = _killing_at(request["at"], files.os.fsync, "SIGKILL")
    elif request["signal"]:
        step.accumulate_gradients = _killing_at(request["at"], step.accumulate_gradients, request["signal"])
    recipe = parse_training_recipe(request["recipe"], "the test's")
    try:
        job = resolve(recipe, open_data(recipe), torch.device("cpu"))
        train(job, Plan.from_dict(request["plan"]), Path(request["folder"]), quiet=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return interrupted.status
    return 0


def _returning(dtype: torch.dtype, function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`function`, whose result is converted to `dtype`."""
    return lambda *arguments: function(*arguments).to(dtype)


def _killing_at(number: int, function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`function`, with a signal to this process at the call with this number."""
    calls = []

    def call(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), getattr(signal, name))
        return function(*arguments, **settings)

    return call


if __name__ == "__main__":
    main()
