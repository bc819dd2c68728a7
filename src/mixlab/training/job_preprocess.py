"""The preprocessing of a job: of the model or its weights, with the settings of the recipe and what the data need."""

from dataclasses import replace

from mixlab.data.any_preprocess import AnyPreprocess
from mixlab.data.audio.spectrogram import Spectrogram
from mixlab.data.dataset import Dataset
from mixlab.data.decoding import has_sounds, with_common_decoding
from mixlab.data.preprocess import Preprocess
from mixlab.data.text.preprocess import TextPreprocess
from mixlab.data.transforms import Transform
from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.training.recipes.schema import Preprocessing, Recipe, TransformSettings
from mixlab.zoo.architecture import Architecture


def new_preprocess(model_architecture: Architecture) -> AnyPreprocess:
    """The preprocessing of a model with random weights."""
    config = model_architecture.config
    if model_architecture.reads_texts:
        return TextPreprocess(config["tokens"], config["features"], config["buckets"])
    return Preprocess(height_and_width(model_architecture.image_size))


def apply_preprocessing(preprocess: Preprocess, settings: Preprocessing, dataset: Dataset) -> Preprocess:
    """`preprocess` with the [preprocessing] of a recipe, and the decoding of the training files if it has none.

    Raises UserError if it has a spectrogram, and the data are images, or if a given crop has no effect.
    """
    given = {key: value for key, value in settings if value is not None}
    changed = replace(preprocess, **given)
    if changed.resize == "stretch" and changed.crop_fraction < 1 and "crop_fraction" in given and "resize" not in given:
        raise UserError(
            f"preprocessing.crop_fraction={changed.crop_fraction:g} has no effect, because images are stretched: add "
            'preprocessing.resize="shorter_side", or remove it.'
        )
    return with_common_decoding(changed, dataset.splits["train"])


def with_decoding(settings: Preprocessing, preprocess: Preprocess) -> Preprocessing:
    """The [preprocessing] of a recipe with the decoding of `preprocess`."""
    decoding = {"value_range": preprocess.value_range, "spectrogram": preprocess.spectrogram}
    return settings.model_copy(update=decoding)


def make_transform(settings: TransformSettings | None) -> Transform | None:
    """The [transform] of a recipe, or None without one."""
    return settings and Transform(**settings.model_dump())


def size_of_sounds(recipe: Recipe, dataset: Dataset) -> dict[str, tuple[int, int]]:
    """The image size of the spectrograms, with which they are not resized; empty for images."""
    if not has_sounds(dataset.splits["train"]):
        return {}
    return {"image_size": (recipe.preprocessing.spectrogram or Spectrogram()).image_size}
