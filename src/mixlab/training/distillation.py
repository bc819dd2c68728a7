"""Knowledge distillation: the logits of a trained teacher are targets in addition to the labels.

Hinton et al. 2015, https://arxiv.org/abs/1503.02531. Teacher and student get the same augmented and mixed images.

Axes:  image, class  images of the batch and their classes
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.training.recipes.schema import Distillation
from mixlab.weights.classifier import require_classification
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.zoo.class_names import index_names


class Teacher:
    """A trained model that predicts logits for the student's images.

    The images are resized and normalised as for the teacher's own training.
    """

    def __init__(
        self, settings: Distillation, classes: tuple[str, ...], student: Preprocess, device: torch.device | str
    ):
        """Load the teacher that `settings` names.

        classes  class names of the dataset
        student  preprocessing of the images that the teacher is called with

        Raises UserError if the teacher has other classes than the dataset.
        """
        pretrained = load_pretrained(settings.teacher)
        require_classification(pretrained.task, settings.teacher, "be a teacher")
        _require_same_classes(settings.teacher, pretrained.classes, classes)
        self._model = build_with_weights(pretrained.weights).to(device)
        self._student, self._own = student, pretrained.image_preprocess

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "image channel row column"]) -> Float[Tensor, "image class"]:
        """The teacher's logits for images that are normalised for the student."""
        mean, std, own_mean, own_std = (
            torch.tensor(values, dtype=images.dtype, device=images.device)[:, None, None]
            for values in (self._student.mean, self._student.std, self._own.mean, self._own.std)
        )
        images = (images * std + mean - own_mean) / own_std
        if self._student.image_size != self._own.image_size:
            images = F.interpolate(images, self._own.image_size, mode="bilinear", antialias=True)
        return self._model(images)


def distilled_loss(
    logits: Float[Tensor, "image class"],
    teacher: Float[Tensor, "image class"],
    loss: Float[Tensor, ""],
    settings: Distillation,
) -> Float[Tensor, ""]:
    """The weighted mean of `loss`, the loss for the labels, and of the distillation loss.

    `settings.weight` is the weight of the distillation loss. With target "soft" this is the KL divergence from the
    teacher's probabilities, both softened by `temperature` and multiplied by its square, so that the gradients keep
    their scale. With target "hard" it is the cross-entropy for the class that the teacher predicts, as in DeiT,
    https://arxiv.org/abs/2012.12877. Computed in at least fp32.
    """
    at_least_fp32 = torch.promote_types(logits.dtype, torch.float32)
    logits, teacher = logits.to(at_least_fp32), teacher.to(at_least_fp32)
    if settings.target == "hard":
        distillation = F.cross_entropy(logits, teacher.argmax(dim=1))
    else:
        student_log, teacher_log = ((values / settings.temperature).log_softmax(dim=1) for values in (logits, teacher))
        divergence = F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)
        distillation = settings.temperature**2 * divergence
    return (1 - settings.weight) * loss + settings.weight * distillation


def _require_same_classes(teacher: str, teacher_classes: tuple[str, ...], data_classes: tuple[str, ...]) -> None:
    """Compare the class names, or only their number if the teacher or the data have indices in place of names."""
    if len(teacher_classes) != len(data_classes):
        raise UserError(
            f"distillation.teacher={teacher!r} has {len(teacher_classes)} classes, but the data have "
            f"{len(data_classes)}: give a teacher that was trained on the classes of the data."
        )
    unnamed = index_names(len(data_classes))
    pairs = zip(teacher_classes, data_classes, strict=True)
    different = [
        (index, of_teacher, of_data) for index, (of_teacher, of_data) in enumerate(pairs) if of_teacher != of_data
    ]
    if different and unnamed not in (teacher_classes, data_classes):
        index, of_teacher, of_data = different[0]
        raise UserError(
            f'distillation.teacher={teacher!r} has other classes than the data: its class {index} is "{of_teacher}", '
            f'that of the data is "{of_data}". Give a teacher that was trained on the classes of the data, in the same '
            "order."
        )
