"""The tasks of `mixlab compare` by name."""

from mixlab.comparison.tasks.classification import IMAGES
from mixlab.comparison.tasks.compared_task import ComparedTask
from mixlab.comparison.tasks.multilabel import LABELS
from mixlab.comparison.tasks.segmentation import MASKS
from mixlab.comparison.tasks.text import TEXTS
from mixlab.training.recipes.for_task import require_task

COMPARED = {compared.task.name: compared for compared in (IMAGES, LABELS, MASKS, TEXTS)}


def compared_task(task: str) -> ComparedTask:
    """The comparison of models for a task. Raises UserError if there is no such task."""
    return COMPARED[require_task(task)]
