"""The task of texts."""

import torch

from mixlab.data.augmentation.augment import Augmentation
from mixlab.tasks.classification import CLASSIFICATION
from mixlab.tasks.text import TEXT


def test_it_is_a_classification_with_other_data_and_inputs():
    assert TEXT.metrics is CLASSIFICATION.metrics and TEXT.losses == CLASSIFICATION.losses
    assert "text" in TEXT.kinds and "folder" not in TEXT.kinds
    assert (TEXT.noun, CLASSIFICATION.noun) == ("text", "image")


def test_indices_are_not_mixed():
    texts, targets = torch.ones(2, 3, 4, dtype=torch.int64), torch.eye(2)
    mixed, mixed_targets = TEXT.mix(texts, targets, Augmentation())
    assert mixed is texts and mixed_targets is targets
