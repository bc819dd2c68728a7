"""The page of predicted masks: the colours of the classes, the first overlays and the shares of the classes."""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from PIL import Image

from mixlab.prediction.segmentation import PredictedMask
from mixlab.report.image_panels import ImageFigure, ImagePanel
from mixlab.report.masks import class_legend
from mixlab.report.numbers import number
from mixlab.report.page import Page, Section, Summary, written_by
from mixlab.report.table import Table
from mixlab.report.text import pluralize

SHOWN = 12
_SIDE = 360
"""Pixels of the longer side of a shown overlay, at most."""


def mask_page(source: str, classes: Sequence[str], masks: Sequence[PredictedMask], shares: Table) -> Page:
    """The page of `masks`, at least one, whose files exist; `shares` is their table."""
    means = np.mean([mask.shares for mask in masks], axis=0)
    largest = int(means.argmax())
    first = f"The first {SHOWN} of {len(masks):,} images. " if len(masks) > SHOWN else ""
    overlays = ImageFigure(
        "Overlays", [_panel(mask) for mask in masks[:SHOWN]], f"{first}The image in grey under the colours above."
    )
    return Page(
        title=f"Masks of {pluralize(len(masks), 'image')}",
        kicker=f"mixlab predict: {source}",
        summary=Summary(
            f"The largest class is {classes[largest]}, with {number(float(means[largest]), 1)} % of an image on "
            "average.",
            "Predictions of a model, without a comparison with true masks.",
        ),
        sections=[Section("Images", [class_legend(classes), overlays]), Section("Classes", [shares])],
        footer=written_by(version("mixlab")),
    )


def _panel(mask: PredictedMask) -> ImagePanel:
    with Image.open(mask.overlay) as image:
        image.thumbnail((_SIDE, _SIDE))
        return ImagePanel(mask.image.name, np.array(image), f"{mask.image.name} with its classes in colours")
