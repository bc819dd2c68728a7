"""Early stopping: a training ends when the validation score has not improved for some time.

Whether to stop depends only on the scores of all validations, which checkpoints contain: a resumed training stops at
the same epoch.
"""

import math
from collections.abc import Sequence

from mixlab.training.recipes.schema import EarlyStopping


def stops_early(settings: EarlyStopping, scores: Sequence[float]) -> bool:
    """Whether the last `patience` validations have not improved.

    A validation improves if its score exceeds that of the last improvement by more than `min_delta`.

    scores  of each validation
    """
    best, without_improvement = -math.inf, 0
    for score in scores:
        if score > best + settings.min_delta:
            best, without_improvement = score, 0
        else:
            without_improvement += 1
    return without_improvement >= settings.patience
