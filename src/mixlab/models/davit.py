"""DaViT: blocks of window attention over patches alternate with blocks of attention over channels.

Ding et al. 2022, "DaViT: Dual Attention Vision Transformers", https://arxiv.org/abs/2204.03645.
Details that the paper does not specify follow the authors' code, https://github.com/dingmyu/davit.

Axes:  height, width   the image in pixels
       row, column     the grid of patches, halved in each stage
       channel         the features of a patch: the concatenation of heads (or groups) of equal width
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.models.contract import ImageSize, classifier, require_choice, require_pixels, require_rate, require_sizes
from mixlab.models.mlp import Mlp
from mixlab.models.stochastic_depth import StochasticDepth, linear_ramp


@dataclass(frozen=True, kw_only=True)
class DaViTConfig:
    """Sizes of a DaViT, with the paper's symbols. Raises UserError if a value is out of range.

    stem_padding       "symmetric": 3 pixels on each side, the authors' code. "same": the padding of mmpretrain, which
                       shifts the patches by 2 pixels.
    channel_attention  "davit" or "florence2"; see `mix_channels` and `mix_channels_florence2`.
    head_order         "pool-norm": the authors' classifier. "norm-pool": mmpretrain's. "norms-pool": the authors'
                       dense backbones, with one norm per stage. "pool": Florence-2's image tower, without a norm.
    """

    image_size: ImageSize = 224  # of the training images; the model accepts any size
    image_channels: int = 3
    classes: int = 1000
    channels: tuple[int, ...] = (96, 192, 384, 768)  # C_i, one per stage
    depths: tuple[int, ...] = (1, 1, 3, 1)  # L_i, pairs of a window and a channel attention block
    heads: tuple[int, ...] = (3, 6, 12, 24)  # heads of the window attention, and groups of the channel attention
    window: int = 7  # side in patches
    merge_kernel: int = 2  # of the convolution between stages: 2, or 3 with overlap (Huge and Giant)
    stem_padding: Literal["symmetric", "same"] = "symmetric"
    channel_attention: Literal["davit", "florence2"] = "davit"
    head_order: Literal["pool-norm", "norm-pool", "norms-pool", "pool"] = "pool-norm"
    stochastic_depth: float = 0.0  # drop rate of the last block

    def __post_init__(self) -> None:
        require_sizes(self)
        require_rate("stochastic_depth", self.stochastic_depth)
        require_choice("stem_padding", self.stem_padding, ("symmetric", "same"))
        require_choice("channel_attention", self.channel_attention, ("davit", "florence2"))
        require_choice("head_order", self.head_order, ("pool-norm", "norm-pool", "norms-pool", "pool"))
        if not len(self.channels) == len(self.depths) == len(self.heads):
            raise UserError(
                f"channels={self.channels}, depths={self.depths} and heads={self.heads} differ in length: "
                "each needs one value per stage."
            )
        if self.merge_kernel not in (2, 3):
            raise UserError(f"merge_kernel={self.merge_kernel} is not supported: it must be 2, or 3 for overlap.")
        for channels, heads in zip(self.channels, self.heads, strict=True):
            if channels % heads:
                raise UserError(
                    f"channels={channels} is not a multiple of heads={heads}: all heads have the same width. "
                    "The published sizes have channels / 32 heads."
                )


class WindowAttention(nn.Module):
    """Multi-head self-attention among the patches of each window.

    The grid is padded with zeros to a multiple of the window. As in the authors' code the padding is not masked: the
    padded patches take part, with the projection's bias as their key and value. At the papers' image sizes there is
    no padding.
    """

    def __init__(self, channels: int, heads: int, window: int):
        super().__init__()
        self.heads = heads
        self.window = window
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "batch row column channel"]) -> Float[Tensor, "batch row column channel"]:
        _, rows, columns, _ = x.shape
        x = _pad_to_multiple(x, self.window)
        grid_rows, grid_columns = x.shape[1] // self.window, x.shape[2] // self.window
        windows = rearrange(x, "b (r i) (c j) channel -> (b r c) (i j) channel", i=self.window, j=self.window)
        query, key, value = rearrange(
            self.query_key_value(windows),
            "n patch (three head d) -> three n head patch d",
            three=3,
            head=self.heads,
        ).unbind()
        mixed = F.scaled_dot_product_attention(query, key, value)
        mixed = self.output(rearrange(mixed, "n head patch d -> n patch (head d)"))
        x = rearrange(
            mixed, "(b r c) (i j) channel -> b (r i) (c j) channel", r=grid_rows, c=grid_columns, i=self.window
        )
        return x[:, :rows, :columns]


ChannelMix = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Function of (query, key, value), each (batch, group, patch, d), that returns the mixed values in the same shape."""


def mix_channels(
    query: Float[Tensor, "batch group patch d"],
    key: Float[Tensor, "batch group patch d"],
    value: Float[Tensor, "batch group patch d"],
) -> Float[Tensor, "batch group patch d"]:
    """Channel attention as in the authors' code, scaled by d ** -0.5.

    In that code the roles of the three projections differ from their names: the paper's query is the code's key, the
    paper's key is the code's value, and the paper's value is the code's query.
    """
    attention = ((key * key.shape[-1] ** -0.5).mT @ value).softmax(dim=-1)
    return query @ attention.mT


def mix_channels_florence2(
    query: Float[Tensor, "batch group patch d"],
    key: Float[Tensor, "batch group patch d"],
    value: Float[Tensor, "batch group patch d"],
) -> Float[Tensor, "batch group patch d"]:
    """Channel attention of Florence-2's image tower: query, key and value as named, scaled by patches ** -0.5.

    Xiao et al. 2023, https://arxiv.org/abs/2311.06242. Both variants have the same parameters, so loading weights
    into the wrong variant does not raise an error.
    """
    attention = ((query * query.shape[-2] ** -0.5).mT @ key).softmax(dim=-1)
    return value @ attention.mT


class ChannelAttention(nn.Module):
    """Self-attention among the channels of each group; the token of a channel is its whole feature map.

    `mix` is `mix_channels` or `mix_channels_florence2`.
    """

    def __init__(self, channels: int, groups: int, mix: ChannelMix = mix_channels):
        super().__init__()
        self.groups = groups
        self.mix = mix
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "batch row column channel"]) -> Float[Tensor, "batch row column channel"]:
        query, key, value = rearrange(
            self.query_key_value(x),
            "b r c (three group d) -> three b group (r c) d",
            three=3,
            group=self.groups,
        ).unbind()
        mixed = self.mix(query, key, value)
        return self.output(rearrange(mixed, "b group (r c) d -> b r c (group d)", r=x.shape[1]))


class PositionalEncoding(nn.Module):
    """Conditional position encoding: x + a 3x3 depthwise convolution of x."""

    def __init__(self, channels: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)

    def forward(self, x: Float[Tensor, "batch row column channel"]) -> Float[Tensor, "batch row column channel"]:
        return x + _convolve(self.convolution, x)


class DaViTBlock(nn.Module):
    """Position encoding, x + attention, position encoding, x + MLP; `attention` is a window or a channel attention."""

    def __init__(self, channels: int, attention: nn.Module, drop_rate: float):
        super().__init__()
        self.attention_position = PositionalEncoding(channels)
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = attention
        self.mlp_position = PositionalEncoding(channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, 4 * channels, gelu="erf")
        self.drop = StochasticDepth(drop_rate)

    def forward(self, x: Float[Tensor, "batch row column channel"]) -> Float[Tensor, "batch row column channel"]:
        x = self.attention_position(x)
        x = x + self.drop(self.attention(self.attention_norm(x)))
        x = self.mlp_position(x)
        return x + self.drop(self.mlp(self.mlp_norm(x)))


class PatchEmbedding(nn.Module):
    """The stem: a 7x7 convolution with stride 4, so that patches overlap, followed by LayerNorm."""

    def __init__(self, image_channels: int, channels: int, padding: Literal["symmetric", "same"]):
        super().__init__()
        self.padding = padding
        self.convolution = nn.Conv2d(image_channels, channels, 7, stride=4, padding=3 if padding == "symmetric" else 0)
        self.norm = nn.LayerNorm(channels)

    def forward(
        self, images: Float[Tensor, "batch image_channel height width"]
    ) -> Float[Tensor, "batch row column channel"]:
        require_pixels(images, 1)
        pixels = rearrange(images, "batch channel height width -> batch height width channel")
        padded = _pad_to_multiple(pixels, 4) if self.padding == "symmetric" else _pad_same(pixels, kernel=7, stride=4)
        return self.norm(_convolve(self.convolution, padded))


class PatchMerging(nn.Module):
    """Downsampling between two stages: LayerNorm, then a convolution with stride 2."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels_in)
        self.convolution = nn.Conv2d(channels_in, channels_out, kernel, stride=2, padding=(kernel - 1) // 2)

    def forward(
        self, x: Float[Tensor, "batch row column channel_in"]
    ) -> Float[Tensor, "batch half_row half_column channel_out"]:
        return _convolve(self.convolution, _pad_to_multiple(self.norm(x), 2))


class DaViTStage(nn.Module):
    """Patch merging followed by the blocks of one resolution; the first stage has no merging."""

    def __init__(self, merge: nn.Module, blocks: list[DaViTBlock]):
        super().__init__()
        self.merge = merge
        self.blocks = nn.Sequential(*blocks)

    def forward(
        self, x: Float[Tensor, "batch row_in column_in channel_in"]
    ) -> Float[Tensor, "batch row column channel"]:
        return self.blocks(self.merge(x))


class DaViT(nn.Module):
    """DaViT of any size; `forward` maps images to logits, or to embeddings if `config.classes` is 0."""

    def __init__(self, config: DaViTConfig):
        super().__init__()
        self.config = config
        self.stem = PatchEmbedding(config.image_channels, config.channels[0], config.stem_padding)
        self.body = nn.Sequential(*_stages(config))
        self.norm = _norm(config)
        self.head = classifier(config.channels[-1], config.classes)
        self.apply(_initialise)

    def feature_maps(
        self, images: Float[Tensor, "batch image_channel height width"]
    ) -> tuple[Float[Tensor, "batch _channel _row _column"], ...]:
        x = self.stem(images)
        maps = []
        for index, stage in enumerate(self.body):
            x = stage(x)
            normed = self.norm[index](x) if isinstance(self.norm, nn.ModuleList) else x
            maps.append(rearrange(normed, "batch row column channel -> batch channel row column"))
        return tuple(maps)

    def embed(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch channel"]:
        x = self.body(self.stem(images))
        if self.config.head_order == "pool-norm":  # in the other order the published weights lose accuracy
            return self.norm(x.mean(dim=(1, 2)))
        last = self.norm[-1] if isinstance(self.norm, nn.ModuleList) else self.norm
        return last(x).mean(dim=(1, 2))

    def forward(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch class"]:
        return self.head(self.embed(images))


def _stages(config: DaViTConfig) -> list[DaViTStage]:
    # The rate increases with every block, as in the authors' code. In timm both blocks of a pair have the same rate.
    rates = iter(linear_ramp(config.stochastic_depth, 2 * sum(config.depths)))
    mix = mix_channels if config.channel_attention == "davit" else mix_channels_florence2
    stages = []
    for index, (channels, depth, heads) in enumerate(zip(config.channels, config.depths, config.heads, strict=True)):
        merge = PatchMerging(config.channels[index - 1], channels, config.merge_kernel) if index else nn.Identity()
        blocks = []
        for _ in range(depth):
            blocks.append(DaViTBlock(channels, WindowAttention(channels, heads, config.window), next(rates)))
            blocks.append(DaViTBlock(channels, ChannelAttention(channels, heads, mix), next(rates)))
        stages.append(DaViTStage(merge, blocks))
    return stages


def _norm(config: DaViTConfig) -> nn.LayerNorm | nn.ModuleList | nn.Identity:
    match config.head_order:
        case "pool":
            return nn.Identity()
        case "norms-pool":
            return nn.ModuleList(nn.LayerNorm(channels) for channels in config.channels)
        case _:
            return nn.LayerNorm(config.channels[-1])


def _pad_to_multiple(
    x: Float[Tensor, "batch row column channel"], multiple: int
) -> Float[Tensor, "batch padded_row padded_column channel"]:
    """Pad with zeros on the right and at the bottom to a multiple of `multiple`."""
    bottom, right = -x.shape[1] % multiple, -x.shape[2] % multiple
    return F.pad(x, (0, 0, 0, right, 0, bottom)) if bottom or right else x


def _pad_same(
    x: Float[Tensor, "batch row column channel"], kernel: int, stride: int
) -> Float[Tensor, "batch padded_row padded_column channel"]:
    """Padding "same" as in TensorFlow: ceil(side / stride) outputs. If it is odd, the right and bottom get more."""
    rows, columns = (max(kernel - stride + -side % stride, 0) for side in x.shape[1:3])
    return F.pad(x, (0, 0, columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


def _convolve(
    convolution: nn.Conv2d, x: Float[Tensor, "batch row column channel_in"]
) -> Float[Tensor, "batch row_out column_out channel_out"]:
    """Apply a convolution to a channels-last tensor. Both rearranges return views."""
    channels_first = rearrange(x, "batch row column channel -> batch channel row column")
    return rearrange(convolution(channels_first), "batch channel row column -> batch row column channel")


def _initialise(module: nn.Module) -> None:
    """Linear layers: normal with standard deviation 0.02, biases 0. Convolutions keep PyTorch's default."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
