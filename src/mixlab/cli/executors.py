"""The options --jobs and --ray: where the trainings of a command run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer

from mixlab.errors import UserError

LOCAL = "local"

Jobs = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write a list of jobs for a scheduler to DIR, and collect their results later."),
]
Ray = Annotated[
    str | None,
    typer.Option(metavar="[ADDRESS]", help="Train on a Ray cluster. Without ADDRESS: a new one on this machine."),
]


@contextmanager
def trainings_on(jobs: Path | None, ray: str | None) -> Iterator[None]:
    """Within the context, trainings run where the options say; by default in processes of this machine."""
    if jobs is not None and ray is not None:
        raise UserError(f"--jobs {jobs} and --ray both say where the trainings run: remove one of them.")
    if jobs is None and ray is None:
        yield
        return
    from mixlab.training.executor import trained_by

    if jobs is not None:
        from mixlab.training.job_list import JobList

        with trained_by(JobList(jobs)):
            yield
        return
    from mixlab.training.ray_workers import ray_cluster

    with ray_cluster(None if ray == LOCAL else ray) as cluster, trained_by(cluster):
        yield


def with_ray_address(words: Sequence[str]) -> list[str]:
    """`words` with "local" after each --ray without an address, because options of typer have a value or none."""
    completed: list[str] = []
    for word, following in zip_longest(words, words[1:], fillvalue="-"):
        completed.append(word)
        if word == "--ray" and following.startswith("-"):
            completed.append(LOCAL)
    return completed
