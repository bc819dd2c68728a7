"""The objective of a training: the loss for the labels, combined with the distillation loss if there is a teacher."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mixlab.data.batches import LabelTensor
from mixlab.tasks.task import Images, Outputs, Targets, Task
from mixlab.training.distillation import Teacher, distilled_loss
from mixlab.training.job import Job
from mixlab.training.recipes.schema import Distillation, Loss


@dataclass(frozen=True)
class Objective:
    """The loss of a training step: call it with outputs, images and targets.

    task           says what targets and loss are
    loss           the [loss] of the recipe
    classes        the number of classes
    class_weights  from the task
    teacher        the teacher and its [distillation], or None
    """

    task: Task
    loss: Loss
    classes: int
    class_weights: Float[Tensor, " class"] | None
    teacher: tuple[Teacher, Distillation] | None

    def targets(self, labels: LabelTensor) -> Targets:
        """The targets for the labels, before mixing."""
        return self.task.targets(labels, self.classes, self.loss)

    def __call__(
        self,
        outputs: Outputs,
        images: Images,
        targets: Targets,
    ) -> Float[Tensor, ""]:
        """The mean loss over the images. The teacher is called with the same images as the model."""
        loss = self.task.loss(outputs, targets, self.loss, self.class_weights)
        if self.teacher is None:
            return loss
        teacher, settings = self.teacher
        return distilled_loss(outputs, teacher(images), loss, settings)


def make_objective(job: Job, device: torch.device) -> Objective:
    """The objective of `job`, with the teacher on `device`.

    Raises UserError if the class weights or the teacher don't fit the data.
    """
    classes, settings = job.dataset.classes, job.recipe.distillation
    return Objective(
        job.task,
        job.recipe.loss,
        len(classes),
        job.task.class_weights(job.recipe.loss, job.dataset.splits["train"].labels, classes),
        settings and (Teacher(settings, classes, job.image_preprocess, device), settings),
    )
