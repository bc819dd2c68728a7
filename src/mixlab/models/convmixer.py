"""ConvMixer: a depthwise convolution mixes the patches, a pointwise convolution mixes the channels.

Trockman and Kolter 2022, "Patches Are All You Need?", https://arxiv.org/abs/2201.09792.
All layers have PyTorch's default initialisation, as in the authors' code.

Axes:  height, width   the image in pixels
       row, column     the grid of patches, with the same size in all blocks
       channel         the features of a patch
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.models.contract import (
    ImageSize,
    classifier,
    height_and_width,
    require_choice,
    require_pixels,
    require_sizes,
)


@dataclass(frozen=True, kw_only=True)
class ConvMixerConfig:
    """Sizes of a ConvMixer, with the paper's symbols. Raises UserError if a value is out of range."""

    image_size: ImageSize = 224  # of the training images; the model accepts any size
    image_channels: int = 3
    classes: int = 1000
    patch_size: int  # p, pixels
    kernel_size: int  # k, patches
    channels: int  # h
    depth: int  # d
    activation: Literal["gelu", "relu"] = "gelu"  # the published 768/32 was trained with ReLU

    def __post_init__(self) -> None:
        require_sizes(self)
        require_choice("activation", self.activation, ("gelu", "relu"))
        if min(height_and_width(self.image_size)) < self.patch_size:
            raise UserError(
                f"image_size={self.image_size} is smaller than patch_size={self.patch_size}: an image needs at least "
                f"one patch. Set image_size to {self.patch_size} or more."
            )


class ConvMixerBlock(nn.Module):
    """x + depthwise convolution, then a pointwise convolution, which has no residual connection."""

    def __init__(self, config: ConvMixerConfig):
        super().__init__()
        channels = config.channels
        depthwise = nn.Conv2d(channels, channels, config.kernel_size, groups=channels, padding="same")
        self.depthwise = _conv_activation_norm(depthwise, config)
        self.pointwise = _conv_activation_norm(nn.Conv2d(channels, channels, kernel_size=1), config)

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch channel row column"]:
        return self.pointwise(x + self.depthwise(x))


class ConvMixer(nn.Module):
    """ConvMixer of any size; `forward` maps images to logits, or to embeddings if `config.classes` is 0."""

    def __init__(self, config: ConvMixerConfig):
        super().__init__()
        self.config = config
        patches = nn.Conv2d(config.image_channels, config.channels, config.patch_size, config.patch_size)
        self.stem = _conv_activation_norm(patches, config)
        self.body = nn.Sequential(*(ConvMixerBlock(config) for _ in range(config.depth)))
        self.norm = nn.Identity()  # every block ends with a BatchNorm
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


def _conv_activation_norm(convolution: nn.Conv2d, config: ConvMixerConfig) -> nn.Sequential:
    """Convolution, activation, BatchNorm. In this order the BatchNorm can't be folded into its convolution."""
    activation = nn.GELU() if config.activation == "gelu" else nn.ReLU()
    return nn.Sequential(convolution, activation, nn.BatchNorm2d(config.channels))
