"""Evaluation on images of some of a model's classes, with the logits of these classes only.

    columns = class_columns(dataset.classes, model_classes)
    logits = model(images)[:, columns]  # one column for each class of the dataset

ImageNet-A and ImageNet-R have 200 of ImageNet's classes, and their papers restrict a model to these 200: the prediction
is the largest logit among them, and probabilities are their softmax. Accuracies without the restriction are lower and
can't be compared with published ones.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mixlab.errors import UserError, did_you_mean


def class_columns(classes: tuple[str, ...], model_classes: tuple[str, ...]) -> Int64[np.ndarray, " restricted_class"]:
    """The column of each of `classes` in a model's logits.

    classes        of a dataset, as it was opened by `mixlab.data.sources.open_as_provided`: for a set of
                   `mixlab.data.readers.imagenet_variants.VARIANTS` all of its declared classes
    model_classes  of the model, in the order of its logits, named in the same way: synsets for ImageNet

    Raises UserError if the model does not have one of the classes.
    """
    column_of = {name: column for column, name in enumerate(model_classes)}
    if missing := [name for name in classes if name not in column_of]:
        raise UserError(
            f"The model lacks {len(missing)} of the {len(classes)} classes of the images, such as {missing[0]}: choose "
            f"a model that was trained on these classes. {did_you_mean(missing[0], model_classes)}".rstrip()
        )
    return np.array([column_of[name] for name in classes], dtype=np.int64)


class RestrictedClasses(nn.Module):
    """A model with the logits of some of its classes only."""

    def __init__(self, model: nn.Module, columns: Int64[np.ndarray, " restricted_class"]):
        super().__init__()
        self._model, self._columns = model, torch.from_numpy(columns)

    def forward(self, images: Float[Tensor, "image 3 row column"]) -> Float[Tensor, "image restricted_class"]:
        logits = self._model(images)
        return logits[:, self._columns.to(logits.device)]
