"""The preprocessing of a model in PyTorch: decoded images of any size become the input of the network.

Like `preprocess_graph`, it computes the pixels of Pillow 13, bit for bit. Here all numbers are float64, whose products
and sums of integers are exact. `torch.nn.functional.interpolate` is not used: with antialiasing it differs from Pillow.

Axes:  batch           images of one size
       row, column     pixels of the original images
       rows, columns   pixels of the image size of the model
       source, target  pixels along one side, before and after a pass
"""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from mixlab.data.preprocess import Preprocess

_UNIT = 2**22
"""Pillow rounds weights to multiples of its inverse."""


class PreprocessModule(nn.Module):
    """The preprocessing as a module that `torch.export` can convert, for images with any numbers of rows and columns.

    Images that mixlab crops before it enlarges them (`MAX_SCALED_PIXELS`) are cropped afterwards here.
    """

    def __init__(self, preprocess: Preprocess):
        super().__init__()
        self.preprocess = preprocess
        self.filter = _bicubic if preprocess.interpolation == "bicubic" else _bilinear
        for name in ("mean", "std"):
            values = 255 * torch.tensor(getattr(preprocess, name), dtype=torch.float32)
            self.register_buffer(name, values[:, None, None], persistent=False)

    def forward(
        self, images: UInt8[Tensor, "batch row column 3"], is_resized: Bool[Tensor, ""]
    ) -> Float[Tensor, "batch 3 rows columns"]:
        """Resize, crop and normalise images; only normalise them if `is_resized` is true."""
        resized = self.resized(images, is_resized).to(torch.float32)
        normalised = (resized - self.get_buffer("mean")) / self.get_buffer("std")
        transform = self.preprocess.transform
        return normalised if transform is None else transform(normalised)

    def resized(
        self, images: UInt8[Tensor, "batch row column 3"], is_resized: Bool[Tensor, ""]
    ) -> Float[Tensor, "batch 3 rows columns"]:
        rows, columns = images.shape[1:3]
        height, width = self.preprocess.image_size
        sides = torch.stack([torch.full((), side, dtype=torch.float64) for side in (rows, columns)])
        size = torch.tensor((height, width), dtype=torch.float64)
        scaled = torch.where(is_resized, size, self._scaled(sides, size))
        first = ((scaled - size) / 2).round()
        vertical = self._weights(rows, sides[0], scaled[0], first[0], height)
        horizontal = self._weights(columns, sides[1], scaled[1], first[1], width)
        removed = sides - scaled
        return torch.cond(  # like Pillow 13
            removed[0] > (2 * removed[1]).clamp(min=0),
            lambda pixels, vertical, horizontal: _pass(_pass(pixels.mT, vertical).mT, horizontal),
            lambda pixels, vertical, horizontal: _pass(_pass(pixels, horizontal).mT, vertical).mT.contiguous(),
            (images.permute(0, 3, 1, 2).to(torch.float64), vertical, horizontal),
        )

    def _scaled(self, sides: Float[Tensor, "2"], size: Float[Tensor, "2"]) -> Float[Tensor, "2"]:
        """The height and width to which an image is resized before it is cropped."""
        if self.preprocess.resize == "stretch":
            return size
        scales = size / self.preprocess.crop_fraction / sides
        scales = scales if self.preprocess.resize == "stretch_and_crop" else scales.max()
        return torch.maximum((sides * scales).round(), size)

    def _weights(
        self, sources: int, side: Float[Tensor, ""], scaled: Float[Tensor, ""], first: Float[Tensor, ""], targets: int
    ) -> Float[Tensor, "source target"]:
        """The weights of a pass, as multiples of 1 / `_UNIT`."""
        scale = side / scaled
        centres = (first + torch.arange(targets, dtype=torch.float64) + 0.5) * scale
        positions = torch.arange(sources, dtype=torch.float64)[:, None]
        values = self.filter(((positions - centres + 0.5) * (1 / scale.clamp(min=1))).abs())
        multiples = values / values.sum(dim=0, keepdim=True) * _UNIT
        return torch.trunc(multiples + torch.where(multiples < 0, -0.5, 0.5))


def _pass(
    pixels: Float[Tensor, "batch 3 line source"], weights: Float[Tensor, "source target"]
) -> Float[Tensor, "batch 3 line target"]:
    """Resize the last axis, and round and clip as Pillow does."""
    return ((pixels @ weights + _UNIT / 2) / _UNIT).floor().clamp(0, 255)


def _bilinear(distances: Float[Tensor, "source target"]) -> Float[Tensor, "source target"]:
    return (1 - distances).clamp(min=0)


def _bicubic(distances: Float[Tensor, "source target"]) -> Float[Tensor, "source target"]:
    """Keys' cubic convolution with a = -0.5."""
    near = ((1.5 * distances - 2.5) * distances) * distances + 1
    far = (((distances - 5) * distances + 8) * distances - 4) * -0.5
    return torch.where(distances < 1, near, torch.where(distances < 2, far, 0.0))
