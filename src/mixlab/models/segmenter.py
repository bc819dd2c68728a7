"""A segmenter: any network with `feature_maps`, and a decoder in place of its head.

Axes:  height, width  the image in pixels
       class          one logit per class and pixel
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.models.contract import ImageSize, require_sizes
from mixlab.models.decoders.fpn import FpnDecoder
from mixlab.models.decoders.linear import LinearDecoder
from mixlab.models.decoders.upernet import UperNetDecoder

DecoderName = Literal["linear", "fpn", "upernet"]


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """The config of a segmenter. Raises UserError if a value is out of range.

    backbone         the family of the network, as in `mixlab.zoo.architecture.Architecture`
    backbone_config  every field of its config; its number of classes is 0
    width            channels of the decoder; without effect for "linear"
    """

    image_size: ImageSize
    image_channels: int = 3
    classes: int
    backbone: str
    backbone_config: Mapping[str, Any] = field(hash=False)
    decoder: DecoderName = "fpn"
    width: int = 64

    def __post_init__(self) -> None:
        require_sizes(self)


class Segmenter(nn.Module):
    """`forward` maps images to the logits of every pixel.

    backbone  a network with `feature_maps`
    channels  of its maps
    stride    pixels between the places of its first map
    """

    def __init__(self, config: SegmenterConfig, backbone: nn.Module, channels: Sequence[int], stride: int):
        super().__init__()
        self.config = config
        self.backbone: Any = backbone
        match config.decoder:
            case "linear":
                self.head = LinearDecoder(channels, config.classes)
            case "fpn":
                self.head = FpnDecoder(channels, stride, config.width, config.classes)
            case "upernet":
                self.head = UperNetDecoder(channels, stride, config.width, config.classes)

    def feature_maps(
        self, images: Float[Tensor, "batch image_channel height width"]
    ) -> tuple[Float[Tensor, "batch _channel _row _column"], ...]:
        return self.backbone.feature_maps(images)

    def forward(
        self, images: Float[Tensor, "batch image_channel height width"]
    ) -> Float[Tensor, "batch class height width"]:
        """The logits of the patches, upsampled bilinearly."""
        logits = self.head(self.feature_maps(images))
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)
