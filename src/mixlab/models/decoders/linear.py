"""The linear head of each patch, on the last feature map."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class LinearDecoder(nn.Module):
    """Logits of each place of the last map."""

    def __init__(self, channels: Sequence[int], classes: int):
        super().__init__()
        self.classifier = nn.Conv2d(channels[-1], classes, kernel_size=1)

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _channel _row _column"]]
    ) -> Float[Tensor, "batch class row column"]:
        return self.classifier(maps[-1])
