"""ConvMixer without its residual connection, with another norm or without, and with the norm before the activation.

Trockman and Kolter 2022, https://arxiv.org/abs/2201.09792. A layer is a convolution, an activation and a norm, in the
stem as well as in the blocks. Convolutions and head are those of ConvMixer, and with the same seed they have the same
initial weights. Without norms, 2 x channels parameters of each layer are missing; all other variants have ConvMixer's
parameters. The multiply-accumulates are always ConvMixer's.

Axes:  height, width   the image in pixels
       row, column     the grid of patches, with the same size in all blocks
       channel         the features of a patch
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from mixlab.models.channel_norm import ChannelNorm
from mixlab.models.contract import classifier, require_choice, require_pixels
from mixlab.models.convmixer import ConvMixerConfig


@dataclass(frozen=True, kw_only=True)
class AblatedConvMixerConfig(ConvMixerConfig):
    """A ConvMixer's config, and three factors; with their defaults, the network is a ConvMixer.

    residual  "depthwise": around the depthwise layer of each block. "none": blocks without residual connection.
    norm      "batch": BatchNorm. "layer": LayerNorm over the channels of each patch. "none".
    order     of the activation and the norm after a convolution. It has no effect if norm="none".
    """

    residual: Literal["depthwise", "none"] = "depthwise"
    norm: Literal["batch", "layer", "none"] = "batch"
    order: Literal["activation-norm", "norm-activation"] = "activation-norm"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("residual", self.residual, ("depthwise", "none"))
        require_choice("norm", self.norm, ("batch", "layer", "none"))
        require_choice("order", self.order, ("activation-norm", "norm-activation"))


class ResidualBlock(nn.Module):
    """x + depthwise layer, then a pointwise layer."""

    def __init__(self, config: AblatedConvMixerConfig):
        super().__init__()
        self.depthwise = _depthwise(config)
        self.pointwise = _pointwise(config)

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch channel row column"]:
        return self.pointwise(x + self.depthwise(x))


class PlainBlock(nn.Module):
    """A depthwise layer, then a pointwise layer."""

    def __init__(self, config: AblatedConvMixerConfig):
        super().__init__()
        self.depthwise = _depthwise(config)
        self.pointwise = _pointwise(config)

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch channel row column"]:
        return self.pointwise(self.depthwise(x))


class AblatedConvMixer(nn.Module):
    """The ablated network; `forward` maps images to logits, or to embeddings if `config.classes` is 0."""

    def __init__(self, config: AblatedConvMixerConfig):
        super().__init__()
        self.config = config
        block = ResidualBlock if config.residual == "depthwise" else PlainBlock
        patches = nn.Conv2d(config.image_channels, config.channels, config.patch_size, config.patch_size)
        self.stem = _layer(patches, config)
        self.body = nn.Sequential(*(block(config) for _ in range(config.depth)))
        self.norm = nn.Identity()  # as in ConvMixer
        self.head = classifier(config.channels, config.classes)

    def feature_maps(
        self, images: Float[Tensor, "batch image_channel height width"]
    ) -> tuple[Float[Tensor, "batch channel row column"], ...]:
        require_pixels(images, self.config.patch_size)
        return (self.norm(self.body(self.stem(images))),)

    def embed(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch channel"]:
        (features,) = self.feature_maps(images)
        return features.mean(dim=(2, 3))

    def forward(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch class"]:
        return self.head(self.embed(images))


def ablated_convmixer(config: AblatedConvMixerConfig) -> AblatedConvMixer:
    """Build the variant."""
    return AblatedConvMixer(config)


def _depthwise(config: AblatedConvMixerConfig) -> nn.Sequential:
    channels = config.channels
    return _layer(nn.Conv2d(channels, channels, config.kernel_size, groups=channels, padding="same"), config)


def _pointwise(config: AblatedConvMixerConfig) -> nn.Sequential:
    return _layer(nn.Conv2d(config.channels, config.channels, kernel_size=1), config)


def _layer(convolution: nn.Conv2d, config: AblatedConvMixerConfig) -> nn.Sequential:
    activation = nn.GELU() if config.activation == "gelu" else nn.ReLU()
    norm = _norm(config)
    if config.order == "activation-norm":
        return nn.Sequential(convolution, activation, norm)
    return nn.Sequential(convolution, norm, activation)


def _norm(config: AblatedConvMixerConfig) -> nn.Module:
    match config.norm:
        case "batch":
            return nn.BatchNorm2d(config.channels)
        case "layer":
            return ChannelNorm(config.channels, epsilon=1e-5)  # BatchNorm's epsilon
        case "none":
            return nn.Identity()
