"""All tasks by name."""

from mixlab.tasks.classification import CLASSIFICATION
from mixlab.tasks.multilabel import MULTILABEL
from mixlab.tasks.segmentation import SEGMENTATION
from mixlab.tasks.text import TEXT

TASKS = {task.name: task for task in (CLASSIFICATION, MULTILABEL, SEGMENTATION, TEXT)}
