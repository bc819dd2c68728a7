"""The tasks of `mixlab compare` by name."""

from mixlab.comparison.tasks.classification import IMAGES
from mixlab.comparison.tasks.compared_task import ComparedTask
from mixlab.comparison.tasks.text import TEXTS
from mixlab.errors import UserError
from mixlab.training.recipes.for_task import require_task

COMPARED = {compared.task.name: compared for compared in (IMAGES, TEXTS)}


def compared_task(task: str) -> ComparedTask:
    """The comparison of models for a task. Raises UserError if there is no such task, or models can't be compared."""
    if require_task(task) not in COMPARED:
        raise UserError(f"mixlab compare has no --task {task}: it compares models for {' and '.join(COMPARED)}.")
    return COMPARED[task]
