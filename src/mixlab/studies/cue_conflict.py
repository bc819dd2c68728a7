"""Images with the shapes of one image and the texture of another one.

The Fourier transform of an image has phases, which determine where edges are, and amplitudes, which determine contrast
and texture (Oppenheim and Lim 1981, "The importance of phase in signals"). An image with the phases of one image and
the amplitudes of another one has two cues for a class. Geirhos et al. 2019, https://arxiv.org/abs/1811.12231, transfer
the texture with a network instead, so that their values are not comparable.

Axes:  image, channel, row, column  of a batch
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mixlab.data.rng import named_generator


def with_amplitudes_of(
    shapes: Float[Tensor, "image channel row column"], textures: Float[Tensor, "image channel row column"]
) -> Float[Tensor, "image channel row column"]:
    """Images with the phases of `shapes` and the amplitudes of `textures`, channel by channel.

    The mean of each channel, which has no phase, is that of `textures`.
    """
    phases, amplitudes = torch.fft.rfft2(shapes).angle(), torch.fft.rfft2(textures).abs()
    phases[..., 0, 0] = torch.fft.rfft2(textures)[..., 0, 0].angle()
    return torch.fft.irfft2(torch.polar(amplitudes, phases), s=shapes.shape[-2:])


def partners(labels: Int64[np.ndarray, " image"], seed: int) -> Int64[np.ndarray, " image"]:
    """For each image a random one of another class. `labels` has at least two classes."""
    rng = named_generator("partners", seed)
    return np.array([rng.choice(np.flatnonzero(labels != label)) for label in labels])
