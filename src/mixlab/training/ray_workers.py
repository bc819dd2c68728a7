"""Trainings on a Ray cluster: an `Executor` in which each training is a task with one GPU, or with one core.

Ray starts the task of a killed worker again, on any machine. The training then continues at its last checkpoint: at
once if its process ran on the same machine, otherwise as soon as its lease expires (`mixlab.runs.lease`).
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mixlab.errors import Interrupted, UserError
from mixlab.files import write_text
from mixlab.measure.machine import pick_device, usable_cores
from mixlab.report.progress import Log
from mixlab.runs.store import finished_run, store_folder
from mixlab.speed.plan import Plan
from mixlab.training.executor import data_variables
from mixlab.training.job import Job, resolve
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.planning.autotune import select_common_plans
from mixlab.training.planning.concurrency import Planned
from mixlab.training.planning.stored_plans import require_same_versions, stored_plans, versions
from mixlab.training.recipe_data import open_data
from mixlab.training.recipes.schema import Recipe
from mixlab.training.runner import train_recipe
from mixlab.training.training import Training
from mixlab.zoo import user_code
from mixlab.zoo.code_names import with_file

_RESTARTS = 3
"""How often Ray starts a task again whose worker was killed."""

_OBJECT_BYTES = 128 * 2**20
"""Shared memory of a local Ray for messages. Images and weights are in files."""

_CONNECT_SECONDS = 5.0

Code = Mapping[str, str]
"""The source of a user's model by file name."""


@contextmanager
def ray_cluster(address: str | None) -> Iterator["RayCluster"]:
    """The cluster at `address`, such as "auto" or "10.0.0.1:6379"; None: a new one on this machine, ended at the end.

    Raises UserError if Ray is not installed or the cluster can't be reached.
    """
    ray = _import_ray()
    settings = _settings(address)
    store_folder().mkdir(parents=True, exist_ok=True)
    try:
        ray.init(**settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if address is None:
            raise UserError(f"Ray can't start on this machine ({_first_line(error)}): remove --ray.") from error
        raise UserError(f"There is no Ray cluster at {address} ({_first_line(error)}): {_WAY_OUT}") from error
    try:
        yield RayCluster(ray)
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class RayCluster:
    """The cluster that this process is connected to. `ray`: the module."""

    ray: Any

    def plan(self, jobs: Sequence[Job], log: Log, *, seeds: int) -> Planned:
        """The plans of earlier commands in the store, or the fastest ones in a process of the cluster."""
        resources = _resources(self.ray)
        kind = "gpu" if "num_gpus" in resources else "cpu"

        def decide() -> Planned:
            log("The compute mode that is fastest in a process of the cluster is measured.")
            given = [(job.recipe, job.user_code()) for job in jobs]
            task = _remote(self.ray, _plan_in_worker, resources, retries=0).remote(given, versions())
            outcome = self.ray.get(task)
            if isinstance(outcome, Exception):
                raise outcome
            planned, lines = outcome
            for line in lines:
                log(line)
            return planned

        return stored_plans(store_folder() / ".plans" / f"ray-{kind}", jobs, decide)

    @contextmanager
    def workers(self, missing: Sequence[Training], total: int) -> Iterator["RayWorkers"]:
        yield RayWorkers(self.ray)


@dataclass(frozen=True)
class RayWorkers:
    """Tasks of the cluster."""

    ray: Any
    _tasks: list[Any] = field(default_factory=list)

    @property
    def number(self) -> int:
        """One for each GPU of the cluster, or for each core without any."""
        found = self.ray.cluster_resources()
        return max(1, int(found.get("GPU", 0) or found.get("CPU", 0)))

    def start(self, training: Training, *, waits: bool) -> Future[None]:
        job, folder = training.job, training.folder.resolve()
        code = job.user_code() if isinstance(job, Job) else {}
        train = _remote(self.ray, _train_in_worker, _resources(self.ray), retries=_RESTARTS)
        task = train.remote(job.recipe, code, training.plan, folder, waits, versions())
        self._tasks.append(task)
        future: Future[None] = Future()
        task.future().add_done_callback(lambda done: _settle(future, done, folder))
        return future

    def stop(self) -> None:
        for task in self._tasks:
            self.ray.cancel(task)  # SIGINT in the worker, which then writes a checkpoint


_WAY_OUT = (
    "start it with `ray start --head`, give the address that this command prints, or use --ray without an address for "
    "a cluster on this machine."
)


def _import_ray() -> Any:
    """The module, without its usage statistics. Raises UserError if it is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        version("ray")
    except PackageNotFoundError as error:
        raise UserError('--ray needs Ray, which is not installed: pip install "mixlab[ray]"') from error
    import ray

    return ray


def _require_reachable(address: str) -> None:
    """Raises UserError if no process listens at HOST:PORT, for which Ray itself would wait minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"There is no Ray cluster at {address} ({_first_line(error)}): {_WAY_OUT}") from error


def _settings(address: str | None) -> dict[str, Any]:
    common = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": {"MIXLAB_RUNS": str(store_folder().resolve()), **data_variables()}},
    }
    if address is None:
        local = {"num_cpus": usable_cores(), "object_store_memory": _OBJECT_BYTES, "include_dashboard": False}
        return common | local | {"address": "local"}
    _require_reachable(address)
    return common | {"address": address}


def _resources(ray: Any) -> dict[str, int]:
    """What a training needs: a GPU, and its share of the cores of the machine; one core if the cluster has no GPU."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores_per_gpu = [int(each.get("CPU", 1) // each["GPU"]) for each in machines if each.get("GPU", 0) >= 1]
    return {"num_gpus": 1, "num_cpus": max(1, min(cores_per_gpu))} if cores_per_gpu else {"num_cpus": 1}


def _remote(ray: Any, function: Callable[..., Any], resources: dict[str, int], *, retries: int) -> Any:
    """A task in a process of its own. Ray starts it again if its process is killed, or if a signal stops it."""
    return ray.remote(max_calls=1, max_retries=retries, retry_exceptions=[Interrupted], **resources)(function)


def _plan_in_worker(
    jobs: Sequence[tuple[Recipe, Code]], expected: dict[str, Any]
) -> tuple[Planned, list[str]] | Exception:
    lines: list[str] = []
    try:
        require_same_versions(expected, "the machine that runs this command")
        device = pick_device()
        with TemporaryDirectory() as folder:
            recipes = [_with_code(recipe, code, Path(folder) / str(index)) for index, (recipe, code) in enumerate(jobs)]
            dataset = open_data(recipes[0])
            planned = select_common_plans([resolve(recipe, dataset, device) for recipe in recipes], lines.append)
        threads = 1 if device.type == "cpu" else None
        return [(replace(plan, threads=threads), seconds) for plan, seconds in planned], lines
    except Exception as error:
        return error


def _train_in_worker(
    recipe: Recipe | LinearProbeRecipe,
    code: Code,
    plan: Plan | None,
    folder: Path,
    waits: bool,  # noqa: FBT001  Ray passes it on
    expected: dict[str, Any],
) -> Exception | None:
    """Train, and return an error instead of raising it, because Ray would add its traceback to the message.

    A signal that is not from `RayWorkers.stop`, such as that of a machine that is taken back, raises Interrupted: the
    training then continues elsewhere.
    """
    try:
        require_same_versions(expected, "the machine that runs this command")
        if not folder.parent.is_dir():
            raise UserError(
                f"{folder.parent} does not exist on {socket.gethostname()}: set MIXLAB_RUNS to a folder on a file "
                "system that all machines of the cluster share."
            )
        with TemporaryDirectory() as copy:
            train_recipe(_with_code(recipe, code, Path(copy)), plan, folder, waits=waits)
    except Interrupted as interrupted:
        if interrupted.signal == "SIGINT":
            return interrupted
        raise
    except Exception as error:
        return error
    return None


def _settle(future: Future[None], done: Future[Any], folder: Path) -> None:
    """Set the result of `future` to that of a task that has ended."""
    from ray.exceptions import RayTaskError

    match done.exception():
        case None:
            error = done.result() or _missing_run(folder)
        case RayTaskError() as failed if isinstance(failed.cause, Interrupted):
            error = failed.cause
        case RayTaskError() as failed:
            error = UserError(
                f"A worker of the cluster can't run mixlab ({_first_line(failed.cause)}): install the same version of "
                "mixlab in the Python environment of all machines."
            )
        case lost:
            error = BrokenExecutor(str(lost))
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _missing_run(folder: Path) -> UserError | None:
    """The error if a finished training is not where this process expects it."""
    if finished_run(folder) is not None:
        return None
    return UserError(
        f"A worker has trained {folder.name}, but {folder.parent} on this machine does not have it: set MIXLAB_RUNS to "
        "a folder on a file system that all machines of the cluster share."
    )


def _with_code(recipe: Any, code: Code, folder: Path) -> Any:
    """The recipe with the model of the user in `folder`, where its code is written and trusted."""
    if not code:
        return recipe
    for name, source in code.items():
        write_text(folder / name, source)
        user_code.trust_code(folder / name)
    return recipe.model_copy(update={"model": with_file(recipe.model, folder / user_code.COPY)})


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
