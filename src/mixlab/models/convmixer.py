"""ConvMixer: a depthwise convolution mixes the places, a pointwise one mixes the channels.

Trockman and Kolter 2022, "Patches Are All You Need?", https://arxiv.org/abs/2201.09792.
The layers keep PyTorch's own initialisation, as the authors' do.

Axes:  height, width   the image in pixels
       row, column     the grid of patches, the same through the whole body
       channel         the features of a patch
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.models.contract import ImageSize, classifier, height_and_width, require_choice, require_sizes


@dataclass(frozen=True, kw_only=True)
class ConvMixerConfig:
    image_size: ImageSize = 224  # trained at; any size runs
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
                f"image_size={self.image_size} is smaller than patch_size={self.patch_size}: a ConvMixer needs at "
                f"least one patch. Give image_size={self.patch_size} or more."
            )


class ConvMixerBlock(nn.Module):
    """x + mix places, then mix channels: the residual surrounds the depthwise part alone."""

    def __init__(self, config: ConvMixerConfig):
        super().__init__()
        channels = config.channels
        depthwise = nn.Conv2d(channels, channels, config.kernel_size, groups=channels, padding="same")
        self.depthwise = _activated_and_normed(depthwise, config)
        self.pointwise = _activated_and_normed(nn.Conv2d(channels, channels, kernel_size=1), config)

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch channel row column"]:
        return self.pointwise(x + self.depthwise(x))


class ConvMixer(nn.Module):
    def __init__(self, config: ConvMixerConfig):
        super().__init__()
        self.config = config
        patches = nn.Conv2d(config.image_channels, config.channels, config.patch_size, config.patch_size)
        self.stem = _activated_and_normed(patches, config)
        self.body = nn.Sequential(*(ConvMixerBlock(config) for _ in range(config.depth)))
        self.norm = nn.Identity()  # every block ends in a normalisation of its own
        self.head = classifier(config.channels, config.classes)

    def feature_maps(
        self, images: Float[Tensor, "batch image_channel height width"]
    ) -> tuple[Float[Tensor, "batch channel row column"], ...]:
        return (self.norm(self.body(self.stem(images))),)

    def embed(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch channel"]:
        (features,) = self.feature_maps(images)
        return features.mean(dim=(2, 3))

    def forward(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch class"]:
        return self.head(self.embed(images))


def _activated_and_normed(convolution: nn.Conv2d, config: ConvMixerConfig) -> nn.Sequential:
    """Convolution, activation, then BatchNorm: in this order, so the norm can't be folded into its convolution."""
    activation = nn.GELU() if config.activation == "gelu" else nn.ReLU()
    return nn.Sequential(convolution, activation, nn.BatchNorm2d(config.channels))
