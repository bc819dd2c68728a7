"""What a training makes small."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mixlab.training.sections import Recipe


@dataclass(frozen=True)
class Objective:
    recipe: Recipe
    classes: int

    def targets(self, labels: Int[Tensor, " picture"]) -> Float[Tensor, "picture class"]:
        smoothing = self.recipe.loss.label_smoothing
        return F.one_hot(labels, self.classes) * (1 - smoothing) + smoothing / self.classes

    def __call__(
        self,
        logits: Float[Tensor, "picture class"],
        images: Float[Tensor, "picture channel row column"],
        targets: Float[Tensor, "picture class"],
    ) -> Float[Tensor, ""]:
        return F.cross_entropy(logits.float(), targets)
