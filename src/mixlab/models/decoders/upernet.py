"""UPerNet (Xiao et al. 2018, https://arxiv.org/abs/1807.10221): pyramid pooling and a feature pyramid network.

The decoder is that of segmentation_models_pytorch.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.models.decoders.pyramid import LEVELS, Pyramid


class UperNetDecoder(nn.Module):
    """Logits of each place of the finest level. The arguments are those of `FpnDecoder`."""

    def __init__(self, channels: Sequence[int], stride: int, width: int, classes: int):
        super().__init__()
        if 1 < len(channels) < LEVELS - 1:
            raise UserError(
                f"UPerNet needs a network with one feature map or at least {LEVELS - 1}, but this one has "
                f'{len(channels)}: set decoder.name="fpn".'
            )
        self.pyramid = Pyramid(channels, stride)
        levels = self.pyramid.channels
        # It takes maps with strides of 1 and 2 pixels first, and ignores them.
        self.network = _upernet_class()([0, 0, *levels], encoder_depth=len(levels) + 1, decoder_channels=width)
        self.classifier = nn.Conv2d(width, classes, kernel_size=1)

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _channel _row _column"]]
    ) -> Float[Tensor, "batch class row column"]:
        levels = self.pyramid(maps)
        return self.classifier(self.network([levels[0], levels[0], *levels]))


def _upernet_class() -> type[nn.Module]:
    try:
        from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
    except ModuleNotFoundError as error:
        raise UserError(
            'decoder.name="upernet" is built by segmentation_models_pytorch, which is not installed: run '
            '`pip install "mixlab[segmentation]"`, or set decoder.name="fpn".'
        ) from error
    return UPerNetDecoder
