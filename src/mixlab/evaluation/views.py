"""How the images of an evaluation are shown to the model: the crop, and the views whose logits are averaged."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from mixlab.data.any_preprocess import AnyPreprocess, require_images
from mixlab.errors import UserError, did_you_mean
from mixlab.evaluation.crops import with_crop
from mixlab.evaluation.test_time_augmentation import AUGMENTATIONS, below_confidence


@dataclass(frozen=True)
class Views:
    """The crop and the test-time augmentation of an evaluation.

    crop          a name of `mixlab.evaluation.crops.CROPS`; None: the preprocessing of the weights
    augmentation  a name of `mixlab.evaluation.test_time_augmentation.AUGMENTATIONS`; None: one view
    below         only images with a lower confidence are augmented, from 0 to 1; None: all images

    Raises UserError for an unknown augmentation, or if `below` is out of range or has no augmentation.
    """

    crop: str | None = None
    augmentation: str | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if self.augmentation is not None and self.augmentation not in AUGMENTATIONS:
            raise UserError(
                f'test-time augmentation "{self.augmentation}" is unknown: it must be {" or ".join(AUGMENTATIONS)}. '
                f"{did_you_mean(self.augmentation, AUGMENTATIONS)}".rstrip()
            )
        if self.below is not None and self.augmentation is None:
            raise UserError("A confidence for test-time augmentation needs an augmentation: add --tta flip.")
        if self.below is not None and not 0 < self.below <= 1:
            raise UserError(f"--tta-below {self.below:g} is out of range: give a confidence above 0, at most 1.")

    def preprocess(self, preprocess: AnyPreprocess) -> AnyPreprocess:
        """Raises UserError for an unknown crop."""
        return preprocess if self.crop is None else with_crop(require_images(preprocess), self.crop)

    def model(self, model: nn.Module) -> nn.Module:
        return model if self.augmentation is None else _AveragedViews(model, self.augmentation, self.below)

    @property
    def facts(self) -> dict[str, str]:
        """What differs from the evaluation with one view and the preprocessing of the weights, for the report."""
        facts = {"Crop": self.crop} if self.crop else {}
        if self.augmentation:
            images = "all images" if self.below is None else f"images with a confidence below {self.below:g}"
            facts["Test-time augmentation"] = f"{self.augmentation}, {images}"
        return facts


class _AveragedViews(nn.Module):
    def __init__(self, model: nn.Module, augmentation: str, below: float | None):
        super().__init__()
        augmented = AUGMENTATIONS[augmentation](model)
        self._model = model
        self._predict = augmented if below is None else below_confidence(model, augmented, below)

    def forward(self, images: Float[Tensor, "image 3 row column"]) -> Float[Tensor, "image class"]:
        return self._predict(images)
