"""The class of each pixel of images of any size, by one pass over the resized image or by sliding windows.

Axes:  row, column  pixels of an image at its own size
       class        probabilities of a pixel
"""

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mixlab.data.preprocess import RESAMPLING, Preprocess
from mixlab.errors import UserError
from mixlab.evaluation.finite import require_finite
from mixlab.speed.inference import Inference

Pixels = UInt8[np.ndarray, "row column 3"]
_WINDOWS = 16
"""Windows per forward pass."""


class ClassMapper:
    """Maps images to the class index of each pixel.

    overlap  None: an image is stretched to the size of the model. Otherwise it is processed at its own size in windows
             of the size of the model, which overlap by at least this share of their sides, from 0 up to 1; the
             probabilities of overlapping windows are averaged. Windows suit models that were trained on crops

    Raises UserError if `overlap` is out of range.
    """

    def __init__(self, inference: Inference, preprocess: Preprocess, overlap: float | None = None):
        if overlap is not None and not 0 <= overlap < 1:
            raise UserError(
                f"--windows {overlap} is out of range: it must be a share of a side in [0, 1), such as 0.5."
            )
        self._inference, self._preprocess, self._overlap = inference, preprocess, overlap

    def __call__(self, image: Pixels) -> Int64[np.ndarray, "row column"]:
        """The class index of each pixel."""
        return self.probabilities(image).argmax(dim=0).numpy(force=True)

    @torch.inference_mode()
    def probabilities(self, image: Pixels) -> Float[Tensor, "class row column"]:
        """The probabilities of each pixel, at the size of the image."""
        if self._overlap is None:
            found = self._softmax(self._preprocess.resized(image)[None])[0]
        else:
            found = self._of_windows(_at_least(image, self._preprocess), self._overlap)
        return F.interpolate(found[None], image.shape[:2], mode="bilinear", align_corners=False)[0]

    def _of_windows(self, image: Pixels, overlap: float) -> Float[Tensor, "class row column"]:
        height, width = self._preprocess.image_size
        rows, columns, _ = image.shape
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        corners = [(top, left) for top in starts(rows, height, overlap) for left in starts(columns, width, overlap)]
        total, times = torch.zeros(()), torch.zeros(rows, columns)
        for start in range(0, len(corners), _WINDOWS):
            part = corners[start : start + _WINDOWS]
            found = self._softmax(torch.stack([pixels[:, y : y + height, x : x + width] for y, x in part])).cpu()
            if total.ndim == 0:
                total = torch.zeros(found.shape[1], rows, columns)
            for (y, x), window in zip(part, found, strict=True):
                total[:, y : y + height, x : x + width] += window
                times[y : y + height, x : x + width] += 1
        return total / times

    def _softmax(self, images: UInt8[Tensor, "window 3 row column"]) -> Float[Tensor, "window class row column"]:
        (logits,) = self._inference(self._preprocess.finished(images.to(self._inference.device)))
        require_finite(logits)
        return logits.softmax(dim=1)


def starts(side: int, window: int, overlap: float) -> list[int]:
    """The first pixels of windows that cover a side at equal distances, and overlap by at least a share of theirs."""
    count = -(-(side - window) // max(int(window * (1 - overlap)), 1)) + 1
    return [round(start) for start in np.linspace(0, side - window, count)]


def _at_least(image: Pixels, preprocess: Preprocess) -> UInt8[np.ndarray, "scaled_row scaled_column 3"]:
    """The image, enlarged until it covers one window."""
    (height, width), (rows, columns, _) = preprocess.image_size, image.shape
    scale = max(height / rows, width / columns, 1.0)
    if scale == 1:
        return image
    size = max(round(columns * scale), width), max(round(rows * scale), height)
    return np.array(Image.fromarray(image).resize(size, RESAMPLING[preprocess.interpolation]))
