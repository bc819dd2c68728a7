"""Filters as images: maps over positions, filters of the stem as colours, and channel attention."""

import numpy as np
from jaxtyping import Float

from mixlab.report.image_panels import ImagePanel, arranged, sequential, symmetric
from mixlab.studies.filter_maps import frequencies, order_with_inverses
from mixlab.studies.smoothness import Smoothness

_COLUMNS = 16  # tiles in a line
_ATTENTION_COLUMNS, _ATTENTION_SIDE = 4, 96  # maps in a line, and pixels of each


def maps_panel(each: Smoothness, most: int) -> ImagePanel:
    """At most `most` maps of a block, from low to high frequency, each followed by its nearest inverse."""
    order = order_with_inverses(each.maps)
    chosen = order[_spread(len(order), most)]
    count = f"{len(chosen)} of {len(order)}" if len(chosen) < len(order) else f"{len(order)}"
    heading = f"{each.block}, {each.arrangement}: {count} filters, mean frequency {each.frequency.mean():.3f}"
    alt = f"{heading}; expected with permuted positions: {each.expected:.3f}"
    return ImagePanel(heading, arranged(symmetric(each.maps[chosen]), _COLUMNS), alt)


def stem_panel(stem: Float[np.ndarray, "unit image_channel y x"], most: int) -> ImagePanel:
    """At most `most` filters of images with 1 or 3 channels, from low to high frequency."""
    order = np.argsort(frequencies(stem.mean(axis=1)), kind="stable")
    chosen = stem[order[_spread(len(order), most)]]
    low, high = (end(chosen, axis=(1, 2, 3), keepdims=True) for end in (np.min, np.max))
    scaled = (chosen - low) / np.where(high > low, high - low, 1)
    colours = np.rint(255 * np.moveaxis(scaled, 1, 3)).astype(np.uint8)
    image = arranged(np.broadcast_to(colours, (*colours.shape[:3], 3)), _COLUMNS)
    return ImagePanel(f"{len(stem)} filters", image, f"{len(chosen)} filters of the stem")


def attention_panel(block: str, maps: Float[np.ndarray, "group d d"]) -> ImagePanel:
    colours = sequential(maps / maps.max(axis=(1, 2), keepdims=True))
    return ImagePanel(block, arranged(colours, _ATTENTION_COLUMNS, _ATTENTION_SIDE), f"{block}: maps")


def _spread(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `count` filters, in pairs that are spread evenly."""
    pairs = np.arange((count + 1) // 2)
    chosen = pairs[np.linspace(0, len(pairs) - 1, min(len(pairs), max(most // 2, 1))).astype(int)]
    indices = np.stack([2 * chosen, 2 * chosen + 1], axis=1).ravel()
    return indices[indices < count]
