"""MLP-Mixer: one MLP mixes the patches, another mixes the channels.

Tolstikhin et al. 2021, https://arxiv.org/abs/2105.01601 (section 2, figure 1; sizes: table 1).

Axes:  height, width   the image in pixels
       patch           one token per patch, in row-major order
       channel         the features of a token
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.models.contract import (
    ImageSize,
    classifier,
    height_and_width,
    require_choice,
    require_rate,
    require_sizes,
)
from mixlab.models.mlp import Mlp
from mixlab.models.stochastic_depth import StochasticDepth, linear_ramp


@dataclass(frozen=True, kw_only=True)
class MixerConfig:
    """Sizes of an MLP-Mixer, with the paper's symbols. Raises UserError if a value is out of range."""

    image_size: ImageSize = 224
    image_channels: int = 3
    classes: int = 1000
    patch_size: int  # P, pixels
    channels: int  # C
    token_hidden: int  # D_S
    channel_hidden: int  # D_C
    depth: int  # L
    gelu: Literal["tanh", "erf"] = "tanh"  # the authors' JAX code uses the tanh approximation
    epsilon: float = 1e-6
    stochastic_depth: float = 0.0  # drop rate of the last block

    def __post_init__(self) -> None:
        require_sizes(self)
        require_rate("stochastic_depth", self.stochastic_depth)
        require_choice("gelu", self.gelu, ("tanh", "erf"))
        for side in height_and_width(self.image_size):
            if side % self.patch_size:
                below = side // self.patch_size * self.patch_size
                above = below + self.patch_size
                nearest = f"sizes are {below} and {above}" if below else f"size is {above}"
                raise UserError(
                    f"image_size={self.image_size} is not a multiple of patch_size={self.patch_size}: "
                    f"a Mixer needs whole patches. The nearest {nearest}."
                )

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        height, width = height_and_width(self.image_size)
        return height // self.patch_size, width // self.patch_size

    @property
    def patches(self) -> int:
        """Number of patches, S."""
        rows, columns = self.grid
        return rows * columns


class MixerBlock(nn.Module):
    """x + token MLP, then x + channel MLP, each on the normalised input (pre-norm)."""

    def __init__(self, config: MixerConfig, drop_rate: float):
        super().__init__()
        self.token_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.token_mlp = Mlp(config.patches, config.token_hidden, config.gelu)
        self.channel_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.channel_mlp = Mlp(config.channels, config.channel_hidden, config.gelu)
        self.drop = StochasticDepth(drop_rate)

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        x = x + self.drop(self.token_mlp(self.token_norm(x).mT).mT)
        return x + self.drop(self.channel_mlp(self.channel_norm(x)))


class Mixer(nn.Module):
    """MLP-Mixer of any size; `forward` maps images to logits, or to embeddings if `config.classes` is 0."""

    def __init__(self, config: MixerConfig, block: Callable[[MixerConfig, float], nn.Module] = MixerBlock):
        """`block` makes a block from the config and its drop rate; `mixlab.models.variants` gives other ones."""
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(config.image_channels, config.channels, config.patch_size, config.patch_size)
        # The ramp follows big_vision, which does not rescale by 1 / (1 - rate). timm uses the same rate in all blocks.
        self.body = nn.Sequential(*(block(config, rate) for rate in linear_ramp(config.stochastic_depth, config.depth)))
        self.norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.head = classifier(config.channels, config.classes)
        self.apply(initialise)
        if isinstance(self.head, nn.Linear):
            nn.init.zeros_(self.head.weight)

    def tokens(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch patch channel"]:
        """The normalised tokens after the last block.

        Raises UserError if the images do not have the size that the model was built for.
        """
        expected_size = height_and_width(self.config.image_size)
        if images.shape[2:] != expected_size:
            raise UserError(
                f"This Mixer needs images of {expected_size[0]} x {expected_size[1]} pixels, but got "
                f"{images.shape[2]} x {images.shape[3]}: the size of its token MLP is the number of patches. "
                f"Resize the images, or build the model with image_size=({images.shape[2]}, {images.shape[3]})."
            )
        patches = rearrange(self.stem(images), "batch channel row column -> batch (row column) channel")
        return self.norm(self.body(patches))

    def embed(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch channel"]:
        return self.tokens(images).mean(dim=1)

    def feature_maps(
        self, images: Float[Tensor, "batch image_channel height width"]
    ) -> tuple[Float[Tensor, "batch channel row column"], ...]:
        rows, _ = self.config.grid
        return (rearrange(self.tokens(images), "batch (row column) channel -> batch channel row column", row=rows),)

    def forward(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch class"]:
        return self.head(self.embed(images))


def initialise(module: nn.Module) -> None:
    """The weights of a linear layer or a convolution by `lecun_normal_`. Biases are 0."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        lecun_normal_(module.weight, fan_in=module.weight[0].numel())
        nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]  # all layers of a Mixer have a bias


def lecun_normal_(weight: Tensor, fan_in: int) -> None:
    """LeCun normal as in flax: truncated at two standard deviations and scaled to variance 1 / fan-in."""
    deviation = fan_in**-0.5 / 0.87962566  # the standard deviation of a standard normal truncated at +-2
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)
