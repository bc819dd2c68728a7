"""Occlusion: how much the log-odds of a label fall when a window of the image is covered with a neutral colour.

Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901 (section 4.2). No colour is neutral in all images. The mean in
the preprocessing of the model, mostly a grey, is a shape of its own on a dark or a bright image. The mean of the image
is nearly the colour of an object that fills it.

The quantity is the drop in log-odds, log(p / (1 - p)) with the probability p of the label, in nats, and not the drop in
probability: near p = 1, all windows would have a drop of almost 0. Log-odds are computed from the logits, without the
probability, so that they are not limited by its rounding. Covering a window of log-odds drop d turns the odds of the
label into exp(-d) of what they were.

Axes:  version      the image itself, followed by one copy for each window, in row-major order
       row, column  pixels of the image as the model receives it
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mixlab.errors import UserError
from mixlab.prediction.importance_map import ImportanceMap, Span

Cover = Literal["model", "image"]
"""The colour of covered windows: the mean in the preprocessing of the model, or the mean of the image."""

BATCH = 64

MAX_WINDOWS = 16
"""Windows along the longer side of the image, by default at most."""


@dataclass(frozen=True)
class Windows:
    """The pixels of each row and each column of windows."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def covered(
        self, image: Float[Tensor, "channel row column"], colour: Float[Tensor, "channel 1 1"], start: int, end: int
    ) -> Float[Tensor, "version channel row column"]:
        """Versions `start` to `end` of an image. `image` and the `colour` of covered windows are normalised."""
        versions = image[None].repeat(end - start, 1, 1, 1)
        for version, index in zip(versions, range(start, end), strict=True):
            if index:
                row, column = divmod(index - 1, len(self.columns))
                version[:, slice(*self.rows[row]), slice(*self.columns[column])] = colour
        return versions


def cover_colour(
    image: Float[Tensor, "channel row column"], cover: Cover, model_mean: Float[Tensor, "channel 1 1"]
) -> Float[Tensor, "channel 1 1"]:
    """The normalised colour of covered windows of a normalised image; `model_mean` is that of the model, normalised."""
    return image.mean(dim=(1, 2), keepdim=True) if cover == "image" else model_mean


def place_windows(image_size: tuple[int, int], window: int, stride: int) -> Windows:
    """Square windows of `window` pixels, a new one after every `stride` pixels; all pixels are in one or more windows.

    All windows have the same size: if the sides are not a multiple of the stride, the last window begins earlier.

    Raises UserError if a window is larger than the image, or if pixels would be between the windows.
    """
    height, width = image_size
    if not 1 <= window <= min(image_size):
        raise UserError(
            f"--window {window} is out of range: it must be from 1 to {min(image_size)} pixels, the shorter side of "
            f"the images of {height} x {width} pixels that this model receives."
        )
    if not 1 <= stride <= window:
        raise UserError(
            f"--stride {stride} is out of range: it must be from 1 to {window} pixels, the side of a window, because "
            "pixels between the windows would never be covered."
        )
    return Windows(_spans(height, window, stride), _spans(width, window, stride))


def default_window(image_size: tuple[int, int], patch: int) -> int:
    """The side of a window in pixels: a patch, or as many patches that 16 windows or fewer are in a row.

    image_size  (rows, columns) of the images that the model receives
    patch       the side of its patches in pixels; 1 without patches
    """
    return min(-(-max(image_size) // (MAX_WINDOWS * patch)) * patch, *image_size)


def occlusion_map(logits: Float[Tensor, "version class"], label: int, windows: Windows) -> ImportanceMap:
    """The drop in the log-odds of class `label` for each window, in nats."""
    odds = log_odds(logits, label)
    drops = (odds[0] - odds[1:]).reshape(len(windows.rows), len(windows.columns))
    return ImportanceMap("occlusion", drops.numpy(), windows.rows, windows.columns)


def log_odds(logits: Float[Tensor, "version class"], label: int) -> Float[Tensor, " version"]:
    """log(p / (1 - p)) with the softmax p of class `label`, of two or more classes, in nats and double precision."""
    logits = logits.double()
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
    return logits[:, label] - others.logsumexp(dim=1)


def _spans(side: int, window: int, stride: int) -> tuple[Span, ...]:
    last = side - window
    return tuple((start, start + window) for start in (*range(0, last, stride), last))
