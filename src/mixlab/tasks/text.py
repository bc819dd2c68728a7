"""Classification of texts: each text has one class. Only the data and the inputs differ from those of images."""

from dataclasses import replace

from mixlab.data.text.sources import TEXT_KINDS
from mixlab.tasks.classification import CLASSIFICATION

TEXT = replace(
    CLASSIFICATION,
    name="text",
    kinds=TEXT_KINDS,
    mix=lambda texts, targets, augmentation: (texts, targets),  # recipes with mixing are refused
    noun="text",
)
