"""A semantic feature pyramid network: sums of all levels at the resolution of the finest one.

Kirillov et al. 2019, "Panoptic Feature Pyramid Networks", https://arxiv.org/abs/1901.02446, section 3. Upsampling is by
size instead of by 2, so that images of any size are possible; each level has one convolution.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.models.decoders.pyramid import Pyramid


class FpnDecoder(nn.Module):
    """Logits of each place of the finest level.

    channels  of the maps of the network
    stride    pixels between the places of its first map
    width     channels of all levels
    """

    def __init__(self, channels: Sequence[int], stride: int, width: int, classes: int):
        super().__init__()
        self.pyramid = Pyramid(channels, stride)
        self.lateral = nn.ModuleList(nn.Conv2d(channel, width, kernel_size=1) for channel in self.pyramid.channels)
        self.smooth = nn.ModuleList(_convolution(width) for _ in self.pyramid.channels)
        self.classifier = nn.Conv2d(width, classes, kernel_size=1)

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _channel _row _column"]]
    ) -> Float[Tensor, "batch class row column"]:
        laterals = [project(level) for project, level in zip(self.lateral, self.pyramid(maps), strict=True)]
        merged = [laterals[-1]]
        for lateral in reversed(laterals[:-1]):
            merged.append(lateral + F.interpolate(merged[-1], lateral.shape[2:], mode="nearest"))
        size = merged[-1].shape[2:]
        levels = [
            F.interpolate(smooth(level), size, mode="bilinear", align_corners=False)
            for smooth, level in zip(self.smooth, merged, strict=True)
        ]
        return self.classifier(sum(levels[1:], levels[0]))


def _convolution(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )
