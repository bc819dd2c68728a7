"""The filters of a Mixer, a ConvMixer or a DaViT as arrays, and their arrangement for images without a permutation.

Axes:  unit         a row of a token MLP's first layer, a depthwise kernel, or a filter of the stem
       row, column  patches, or the positions of a kernel
       y, x         pixels of a filter of the stem
       group, d     the groups of a channel attention, and the channels of a group
"""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from mixlab.data.transforms import Transform
from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.models.convmixer import ConvMixer
from mixlab.models.davit import ChannelAttention, DaViT, DaViTBlock
from mixlab.models.mixer import Mixer, MixerBlock
from mixlab.zoo.architecture import Model

Maps = Float[np.ndarray, "unit row column"]


def stem_filters(model: Model) -> Float[np.ndarray, "unit image_channel y x"]:
    """The weights of the stem. Raises UserError for a model outside the three families."""
    if not isinstance(model, Mixer | ConvMixer | DaViT):
        raise UserError(
            "Filters are defined for Mixers, ConvMixers and DaViTs, and this model is another one: give --model with "
            "the run or the weights of one of them."
        )
    convolution = next(module for module in model.stem.modules() if isinstance(module, nn.Conv2d))
    return _array(convolution.weight)


def mixing_maps(model: Model) -> dict[str, Maps]:
    """The filters that mix positions, by block: token MLPs of a Mixer, depthwise kernels of a ConvMixer.

    A unit of a token MLP is a row of the weights of its first layer (Tolstikhin et al. 2021, appendix D). A DaViT has
    none, because its window attention depends on the image.
    """
    if isinstance(model, Mixer):
        blocks = {f"block {index}": block for index, block in enumerate(model.body, 1)}
        rows, columns = model.config.grid
        return {
            name: _array(block.token_mlp.first.weight).reshape(-1, rows, columns)
            for name, block in blocks.items()
            if isinstance(block, MixerBlock)
        }
    if isinstance(model, ConvMixer):
        kernels = [module for module in model.body.modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
        return {f"block {index}": _array(kernel.weight)[:, 0] for index, kernel in enumerate(kernels, 1)}
    return {}


def channel_attention_maps(model: Model) -> dict[str, Float[np.ndarray, "group d d"]]:
    """The attention among the channels of each group, by block of a DaViT: from channel (first) to channel (second).

    A channel attention depends on the image, and so this is that of tokens with uncorrelated channels of mean 0 and
    variance 1 before the affine part of the LayerNorm: for query, key and value x W + b, the product over the tokens
    is their number times W^T diag(scale^2) W + m^T m, with the mean m. It follows from the weights alone.
    """
    if not isinstance(model, DaViT):
        return {}
    rows, columns = (-(-side // 4) for side in height_and_width(model.config.image_size))
    maps: dict[str, Float[np.ndarray, "group d d"]] = {}
    for number, stage in enumerate(model.body, 1):
        if number > 1:
            rows, columns = -(-rows // 2), -(-columns // 2)
        blocks = [block for block in stage.modules() if isinstance(block, DaViTBlock)]
        attentions = [block for block in blocks if isinstance(block.attention, ChannelAttention)]
        for index, block in enumerate(attentions, 1):
            name = f"stage {number}, pair {index}"
            maps[name] = _channel_attention(block, rows * columns, model.config.channel_attention)
    return maps


def _channel_attention(block: DaViTBlock, patches: int, kind: str) -> Float[np.ndarray, "group d d"]:
    attention, norm = block.attention, block.attention_norm
    assert isinstance(attention, ChannelAttention)
    projection = attention.query_key_value
    with torch.no_grad():
        weights = projection.weight.unflatten(0, (3, attention.groups, -1)).double()
        means = (projection.weight @ norm.bias + projection.bias).unflatten(0, (3, attention.groups, -1)).double()
        scales = norm.weight.double() ** 2
        left, right = (1, 2) if kind == "davit" else (0, 1)
        products = (weights[left] * scales) @ weights[right].mT + means[left][:, :, None] * means[right][:, None]
        factor = weights.shape[2] ** -0.5 * patches if kind == "davit" else patches**0.5
        return _array((factor * products).softmax(dim=-1))


def source_positions(
    transform: Transform, image_size: tuple[int, int], patch: int
) -> tuple[Int[np.ndarray, " patch"], Int[np.ndarray, " pixel"]] | None:
    """For each patch of a permuted image the patch that it comes from, and for each pixel of a patch the same.

    None if the transform moves pixels from one patch of `patch` x `patch` pixels to several.
    """
    rows, columns = (side // patch for side in image_size)
    patches = torch.arange(rows * columns, dtype=torch.float64).reshape(rows, columns)
    pixels = torch.arange(patch * patch, dtype=torch.float64).reshape(patch, patch)
    image = torch.stack([torch.kron(patches, torch.ones_like(pixels)), torch.kron(torch.ones_like(patches), pixels)])
    cut = "image (row y) (column x) -> image (row column) (y x)"
    sources, offsets = rearrange(transform(image[None])[0], cut, y=patch, x=patch).long().numpy()
    if (sources != sources[:, :1]).any() or (offsets != offsets[:1]).any():
        return None
    return sources[:, 0], offsets[0]


def unpermuted(values: Float[np.ndarray, "*axes row column"], sources: Int[np.ndarray, " position"]) -> np.ndarray:
    """Weights for permuted images, arranged for the original images: the value of a position moves to its source."""
    flat = values.reshape(*values.shape[:-2], -1)
    arranged = np.empty_like(flat)
    arranged[..., sources] = flat
    return arranged.reshape(values.shape)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()
