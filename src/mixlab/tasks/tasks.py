"""All tasks by name."""

from mixlab.tasks.classification import CLASSIFICATION
from mixlab.tasks.multilabel import MULTILABEL

TASKS = {task.name: task for task in (CLASSIFICATION, MULTILABEL)}
