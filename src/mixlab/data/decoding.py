"""How the files of a dataset are decoded, where a model has no settings for them: value range or spectrogram."""

from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from mixlab.data.audio.sound_file import Sound
from mixlab.data.audio.spectrogram import Spectrogram
from mixlab.data.dataset import Decoding, Split
from mixlab.data.preprocess import Preprocess
from mixlab.data.value_range import common_range, with_common_range
from mixlab.errors import UserError


def has_sounds(split: Split) -> bool:
    """Whether the files of a split are sounds."""
    return any(isinstance(image, Sound) for image in split.images)


def shown_image(split: Split, index: int | np.integer) -> UInt8[np.ndarray, "row column 3"]:
    """An image to look at, without the settings of a model: a sound as its default spectrogram.

    Raises UnreadableImage.
    """
    return split.image(index, Spectrogram() if isinstance(split.images[int(index)], Sound) else None)


def common_decoding(split: Split) -> Decoding:
    """The default spectrogram for sounds, and otherwise the common value range of the images."""
    return Spectrogram() if has_sounds(split) else common_range(split)


def with_common_decoding(preprocess: Preprocess, split: Split) -> Preprocess:
    """`preprocess` with `common_decoding`, unless it says how files are decoded.

    Raises UserError if it has a spectrogram, and `split` has images.
    """
    if preprocess.spectrogram is not None and not has_sounds(split):
        raise UserError(
            f"{split.names[0]} is an image, but the preprocessing has a spectrogram, which is for sounds: give data "
            "such as audio:PATH, or remove preprocessing.spectrogram."
        )
    if not has_sounds(split):
        return with_common_range(preprocess, split)
    return replace(preprocess, spectrogram=preprocess.spectrogram or Spectrogram())
