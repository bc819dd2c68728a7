"""Distillation: a finished model's answers are targets beside the labels.

Hinton et al. 2015, https://arxiv.org/abs/1503.02531. The teacher sees what the student sees: cropped, augmented, mixed.

Axes:  image, class  of the batch
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.training.recipes.schema import Distillation
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.zoo.class_names import index_names


class Teacher:
    """Answers the student's images, at the size and in the normalisation that it was trained with."""

    def __init__(
        self, settings: Distillation, classes: tuple[str, ...], student: Preprocess, device: torch.device | str
    ):
        """`classes` are the data's; `student` is how the images come. Raises UserError."""
        opened = load_pretrained(settings.teacher)
        _refuse_other_classes(settings.teacher, opened.classes, classes)
        self._model = build_with_weights(opened.weights).to(device)
        self._student, self._own = student, opened.preprocess

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "image channel row column"]) -> Float[Tensor, "image class"]:
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
    """`loss`, the labels' own, with the teacher's part in its share of the whole.

    "soft": the divergence from the teacher's probabilities, both at `temperature`, whose square keeps the gradients'
    size. "hard": the teacher's answer is the label, as for DeiT, https://arxiv.org/abs/2012.12877.
    """
    at_least_fp32 = torch.promote_types(logits.dtype, torch.float32)
    logits, teacher = logits.to(at_least_fp32), teacher.to(at_least_fp32)
    if settings.target == "hard":
        taught = F.cross_entropy(logits, teacher.argmax(dim=1))
    else:
        own, others = ((answer / settings.temperature).log_softmax(dim=1) for answer in (logits, teacher))
        taught = settings.temperature**2 * F.kl_div(own, others, reduction="batchmean", log_target=True)
    return (1 - settings.weight) * loss + settings.weight * taught


def _refuse_other_classes(teacher: str, its: tuple[str, ...], data: tuple[str, ...]) -> None:
    """Names are compared where both have some; a file without them numbers its classes."""
    if len(its) != len(data):
        raise UserError(
            f"distillation.teacher={teacher!r} knows {len(its)} classes and the data have {len(data)}: give a teacher "
            "that was trained on the data's classes."
        )
    unnamed = index_names(len(data))
    different = [(theirs, ours) for theirs, ours in zip(its, data, strict=True) if theirs != ours]
    if different and unnamed not in (its, data):
        theirs, ours = different[0]
        raise UserError(
            f'distillation.teacher={teacher!r} calls "{theirs}" what the data call "{ours}": give a teacher that was '
            "trained on the data's classes, in their order."
        )
