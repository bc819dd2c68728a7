"""Networks that differ in one factor at a time: the stem, the mixing of patches, the shape, and the position embedding.

All are MetaFormers (Yu et al. 2022, https://arxiv.org/abs/2111.11418): x + mixing of the patches, then x + channel MLP,
each on the normalised input. Norms, MLPs, pooling, head and initialisation are those of MLP-Mixer.

    mixing="token-mlp"  with the other defaults: MLP-Mixer, without or with position embedding
    mixing="attention"  with a position embedding: a ViT without class token (Beyer et al. 2022,
                        https://arxiv.org/abs/2205.01580, with position="sincos"). With position="none" it does not
                        depend on the order of the patches.
    mixing="depthwise"  a depthwise convolution

The three stages of a pyramid have twice, once and half the rows and columns of the isotropic network, and half, once
and twice its widths. With four times as many blocks in the first stage as in the last, such as depths=(4, 1, 1), its
channel MLPs have in sum the parameters and multiply-accumulates of those of the isotropic network.
`mixlab.zoo.scaling.matched_config` finds the sizes that match whole networks.

Axes:  patch    one token per patch, in row-major order; each stage has its own grid
       channel  the features of a token
"""

from dataclasses import dataclass
from typing import Literal

from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.models.attention import SelfAttention
from mixlab.models.channel_norm import ChannelNorm
from mixlab.models.contract import (
    ImageSize,
    classifier,
    height_and_width,
    require_choice,
    require_rate,
    require_sizes,
)
from mixlab.models.mixer import initialise
from mixlab.models.mlp import Mlp
from mixlab.models.position import LearnedPosition, SincosPosition
from mixlab.models.stochastic_depth import StochasticDepth, linear_ramp


@dataclass(frozen=True)
class Stage:
    """The blocks at one grid of patches. `patch_size` is in pixels; the other fields are as in `MetaFormerConfig`."""

    patch_size: int
    grid: tuple[int, int]  # rows, columns
    channels: int
    token_hidden: int
    channel_hidden: int
    depth: int


@dataclass(frozen=True, kw_only=True)
class MetaFormerConfig:
    """The factors, and the sizes of the isotropic network and of the middle stage of a pyramid. Raises UserError.

    stem      "patch": one convolution whose kernel and stride are the patch. "convolutions": 3x3 convolutions with
              stride 2 to the same grid (after Xiao et al. 2021, https://arxiv.org/abs/2106.14881).
    mixing    "attention", "token-mlp" or "depthwise".
    shape     "isotropic": `sum(depths)` equal blocks. "pyramid": three stages with these depths.
    position  what is added to the tokens of the stem: "none", "learned" or "sincos".
    """

    image_size: ImageSize = 224
    image_channels: int = 3
    classes: int = 1000
    stem: Literal["patch", "convolutions"] = "patch"
    mixing: Literal["attention", "token-mlp", "depthwise"]
    shape: Literal["isotropic", "pyramid"] = "isotropic"
    position: Literal["none", "learned", "sincos"] = "none"
    patch_size: int  # P, pixels
    channels: int  # C
    channel_hidden: int  # D_C
    token_hidden: int = 64  # D_S, for mixing="token-mlp"
    kernel_size: int = 5  # patches, for mixing="depthwise"
    head_channels: int = 16  # for mixing="attention"
    depths: tuple[int, ...]
    gelu: Literal["tanh", "erf"] = "tanh"
    epsilon: float = 1e-6
    stochastic_depth: float = 0.0  # drop rate of the last block

    def __post_init__(self) -> None:
        require_sizes(self)
        require_rate("stochastic_depth", self.stochastic_depth)
        require_choice("stem", self.stem, ("patch", "convolutions"))
        require_choice("mixing", self.mixing, ("attention", "token-mlp", "depthwise"))
        require_choice("shape", self.shape, ("isotropic", "pyramid"))
        require_choice("position", self.position, ("none", "learned", "sincos"))
        require_choice("gelu", self.gelu, ("tanh", "erf"))
        if self.shape == "pyramid":
            self._require_pyramid()
        coarsest = self.stages[-1].patch_size
        if any(side % coarsest for side in height_and_width(self.image_size)):
            raise UserError(
                f"image_size={self.image_size} is not a multiple of {coarsest}, the patches of the last stage in "
                "pixels: change image_size or patch_size."
            )
        finest = self.stages[0]
        if self.stem == "convolutions" and (finest.patch_size == 1 or finest.patch_size & (finest.patch_size - 1)):
            raise UserError(
                f'stem="convolutions" can\'t reach patches of {finest.patch_size} pixels: each convolution halves the '
                "grid, so the patches of the first stage must be 2, 4, 8, ... pixels."
            )
        if self.mixing == "attention" and finest.channels % self.head_channels:
            raise UserError(
                f"The first stage has {finest.channels} channels, which is not a multiple of "
                f"head_channels={self.head_channels}: all heads have the same width. Change one of them."
            )
        if self.position == "sincos" and finest.channels % 4:
            raise UserError(
                f'position="sincos" needs a multiple of 4 channels, and the first stage has {finest.channels}: '
                "change channels."
            )

    def _require_pyramid(self) -> None:
        if len(self.depths) != 3:
            raise UserError(f"depths={self.depths} is not valid: a pyramid has three stages, such as depths=(4, 1, 1).")
        for name in ("patch_size", "channels", "channel_hidden", "token_hidden"):
            if getattr(self, name) % 2:
                raise UserError(
                    f"{name}={getattr(self, name)} is odd: the first stage of a pyramid has half of it. Change it to "
                    f"{getattr(self, name) + 1}."
                )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """From the finest grid to the coarsest: one stage, or three of a pyramid."""
        if self.shape == "isotropic":
            return (self._stage(1.0, sum(self.depths)),)
        return tuple(self._stage(factor, depth) for factor, depth in zip((0.5, 1.0, 2.0), self.depths, strict=True))

    def _stage(self, factor: float, depth: int) -> Stage:
        patch_size = int(factor * self.patch_size)
        height, width = height_and_width(self.image_size)
        return Stage(
            patch_size,
            (height // patch_size, width // patch_size),
            int(factor * self.channels),
            int(factor * self.token_hidden),
            int(factor * self.channel_hidden),
            depth,
        )


class TokenMlp(nn.Module):
    """The token MLP of a Mixer."""

    def __init__(self, patches: int, hidden: int, gelu: str):
        super().__init__()
        self.mlp = Mlp(patches, hidden, gelu)

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        return self.mlp(x.mT).mT


class DepthwiseConvolution(nn.Module):
    """A depthwise convolution over a grid with `rows` rows; patches outside the grid are 0."""

    def __init__(self, channels: int, kernel_size: int, rows: int):
        super().__init__()
        self.rows = rows
        self.convolution = nn.Conv2d(channels, channels, kernel_size, groups=channels, padding="same")

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        grid = rearrange(x, "batch (row column) channel -> batch channel row column", row=self.rows)
        return rearrange(self.convolution(grid), "batch channel row column -> batch (row column) channel")


class MetaFormerBlock(nn.Module):
    """x + mixing of the patches, then x + channel MLP, each on the normalised input (pre-norm)."""

    def __init__(self, stage: Stage, mixing: nn.Module, config: MetaFormerConfig, drop_rate: float):
        super().__init__()
        self.token_norm = nn.LayerNorm(stage.channels, eps=config.epsilon)
        self.mixing = mixing
        self.channel_norm = nn.LayerNorm(stage.channels, eps=config.epsilon)
        self.channel_mlp = Mlp(stage.channels, stage.channel_hidden, config.gelu)
        self.drop = StochasticDepth(drop_rate)

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        x = x + self.drop(self.mixing(self.token_norm(x)))
        return x + self.drop(self.channel_mlp(self.channel_norm(x)))


class PatchPooling(nn.Module):
    """Between two stages: LayerNorm, the mean of 2x2 patches, and a linear layer to the next width."""

    def __init__(self, finer: Stage, coarser: Stage, epsilon: float):
        super().__init__()
        self.rows = coarser.grid[0]
        self.norm = nn.LayerNorm(finer.channels, eps=epsilon)
        self.linear = nn.Linear(finer.channels, coarser.channels)

    def forward(self, x: Float[Tensor, "batch patch channel_in"]) -> Float[Tensor, "batch coarse_patch channel"]:
        pattern = "batch (row i column j) channel -> batch (row column) channel"
        return self.linear(reduce(self.norm(x), pattern, "mean", row=self.rows, i=2, j=2))


class Stem(nn.Module):
    """From the image to tokens: a convolution or several, then the position embedding."""

    def __init__(self, config: MetaFormerConfig):
        super().__init__()
        self.convolutions = _patch(config) if config.stem == "patch" else _stride_2_convolutions(config)
        self.position = _position(config)

    def forward(
        self, images: Float[Tensor, "batch image_channel height width"]
    ) -> Float[Tensor, "batch patch channel"]:
        features = self.convolutions(images)
        return self.position(rearrange(features, "batch channel row column -> batch (row column) channel"))


class MetaFormerStage(nn.Module):
    """Pooling of patches followed by the blocks of one grid; the first stage has no pooling."""

    def __init__(self, merge: nn.Module, blocks: list[MetaFormerBlock]):
        super().__init__()
        self.merge = merge
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Float[Tensor, "batch patch_in channel_in"]) -> Float[Tensor, "batch patch channel"]:
        return self.blocks(self.merge(x))


class MetaFormer(nn.Module):
    """A network of these factors; `forward` maps images to logits, or to embeddings if `config.classes` is 0."""

    def __init__(self, config: MetaFormerConfig):
        super().__init__()
        self.config = config
        self.stem = Stem(config)
        self.body = nn.Sequential(*_stages(config))
        self.norm = nn.LayerNorm(config.stages[-1].channels, eps=config.epsilon)
        self.head = classifier(config.stages[-1].channels, config.classes)
        self.apply(initialise)
        if isinstance(self.head, nn.Linear):
            nn.init.zeros_(self.head.weight)

    def feature_maps(
        self, images: Float[Tensor, "batch image_channel height width"]
    ) -> tuple[Float[Tensor, "batch _channel _row _column"], ...]:
        """One map for each stage; the last one is normalised."""
        self._require_size(images)
        x = self.stem(images)
        outputs = []
        for stage in self.body:
            x = stage(x)
            outputs.append(x)
        outputs[-1] = self.norm(x)
        pattern = "batch (row column) channel -> batch channel row column"
        stages = self.config.stages
        return tuple(rearrange(x, pattern, row=stage.grid[0]) for x, stage in zip(outputs, stages, strict=True))

    def embed(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch channel"]:
        self._require_size(images)
        return self.norm(self.body(self.stem(images))).mean(dim=1)

    def forward(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch class"]:
        return self.head(self.embed(images))

    def _require_size(self, images: Tensor) -> None:
        height, width = height_and_width(self.config.image_size)
        if images.shape[2:] != (height, width):
            raise UserError(
                f"This MetaFormer needs images of {height} x {width} pixels, but got {images.shape[2]} x "
                f"{images.shape[3]}: resize the images, or build the model with "
                f"image_size=({images.shape[2]}, {images.shape[3]})."
            )


def metaformer(config: MetaFormerConfig) -> MetaFormer:
    """Build the variant."""
    return MetaFormer(config)


def _patch(config: MetaFormerConfig) -> nn.Conv2d:
    first = config.stages[0]
    return nn.Conv2d(config.image_channels, first.channels, first.patch_size, first.patch_size)


def _stride_2_convolutions(config: MetaFormerConfig) -> nn.Sequential:
    """3x3 convolutions with stride 2, with LayerNorm and GELU between them.

    The last has all channels, the one before a quarter, and each before half of the next. These widths keep the
    parameters and multiply-accumulates near those of the single convolution.
    """
    first = config.stages[0]
    convolutions = first.patch_size.bit_length() - 1
    hidden = [max(first.channels // 2**power, 1) for power in range(convolutions, 1, -1)]
    layers: list[nn.Module] = []
    channels_in = config.image_channels
    for channels in hidden:
        convolution = nn.Conv2d(channels_in, channels, 3, stride=2, padding=1)
        gelu = nn.GELU(approximate="none" if config.gelu == "erf" else config.gelu)
        layers += [convolution, ChannelNorm(channels, config.epsilon), gelu]
        channels_in = channels
    return nn.Sequential(*layers, nn.Conv2d(channels_in, first.channels, 3, stride=2, padding=1))


def _position(config: MetaFormerConfig) -> nn.Module:
    first = config.stages[0]
    match config.position:
        case "none":
            return nn.Identity()
        case "learned":
            return LearnedPosition(first.grid[0] * first.grid[1], first.channels)
        case "sincos":
            return SincosPosition(first.grid, first.channels)


def _stages(config: MetaFormerConfig) -> list[MetaFormerStage]:
    rates = iter(linear_ramp(config.stochastic_depth, sum(config.depths)))
    stages, finer = [], None
    for stage in config.stages:
        merge = nn.Identity() if finer is None else PatchPooling(finer, stage, config.epsilon)
        blocks = [MetaFormerBlock(stage, _mixing(stage, config), config, next(rates)) for _ in range(stage.depth)]
        stages.append(MetaFormerStage(merge, blocks))
        finer = stage
    return stages


def _mixing(stage: Stage, config: MetaFormerConfig) -> nn.Module:
    rows, columns = stage.grid
    match config.mixing:
        case "attention":
            return SelfAttention(stage.channels, heads=stage.channels // config.head_channels)
        case "token-mlp":
            return TokenMlp(rows * columns, stage.token_hidden, config.gelu)
        case "depthwise":
            return DepthwiseConvolution(stage.channels, config.kernel_size, rows)
