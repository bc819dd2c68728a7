"""The section [decoder] of a recipe, and settings that a task with masks can't have."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from mixlab.models.segmenter import DecoderName
from mixlab.tasks.tasks import TASKS
from mixlab.training.recipes.section import Count, Section

if TYPE_CHECKING:
    from mixlab.training.recipes.schema import Recipe


class Decoder(Section):
    """The head of a segmentation, on the feature maps of the model (`mixlab.models.decoders`)."""

    name: DecoderName = "fpn"
    width: Count = 64  # channels; without effect for "linear"

    @model_validator(mode="after")
    def _no_unused_keys(self) -> Self:
        if self.name == "linear":
            self._require_unset("width", needs='decoder.name="fpn" or "upernet"')
        return self


def default_decoder(task: str) -> dict[str, Any]:
    """The section [decoder] of a recipe without one, if the task has a decoder."""
    return {"decoder": {}} if TASKS[task].on_feature_maps else {}


def conflicts_of_masks(recipe: "Recipe") -> Iterator[tuple[str, str, str]]:
    """Settings that can't be combined with a task with masks or without, the reason, and the fix."""
    if not TASKS[recipe.task].on_feature_maps:
        if recipe.decoder is not None:
            reason = "its head stands on the pooled features"
            yield f'[decoder] and task="{recipe.task}"', reason, "Remove [decoder]."
        return
    augmentation = recipe.augmentation
    for name in ("mixup", "mixup_or_cutmix", "randaugment_tf", "randaugment_timm", "randaugment_torchvision"):
        if getattr(augmentation, name) is not None:
            reason = "a mask has one class per pixel" if "mix" in name else "it does not move the pixels of masks"
            way_out = "Remove it; flip, affine, pad_crop, random_resized_crop and color_jitter are possible."
            yield f'augmentation.{name} and task="{recipe.task}"', reason, way_out
    if recipe.transform is not None:
        yield f'[transform] and task="{recipe.task}"', "it does not move the pixels of masks", "Remove [transform]."
    if recipe.preprocessing.resize not in (None, "stretch"):
        reason = "every pixel of an image needs an answer, and a crop leaves some out"
        yield f'preprocessing.resize="{recipe.preprocessing.resize}" and task="{recipe.task}"', reason, "Remove it."
    if recipe.initialization.head != "auto":
        reason = "the decoder of a segmentation is new"
        yield f'initialization.head="{recipe.initialization.head}" and task="{recipe.task}"', reason, "Remove it."
    if recipe.activation_checkpointing != "off":
        reason = "only the blocks of models with one class per image are computed again"
        yield f'activation_checkpointing="blocks" and task="{recipe.task}"', reason, "Remove it."
