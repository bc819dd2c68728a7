"""The probabilities of all labels that a model predicts for a split."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32

from mixlab.data.batches import EvalBatches
from mixlab.data.dataset import Split
from mixlab.evaluation.finite import require_finite
from mixlab.speed.inference import Inference
from mixlab.tasks.multilabel import MULTILABEL


def label_probabilities(
    inference: Inference, split: Split, batches: EvalBatches
) -> Iterator[Float32[np.ndarray, "image label"]]:
    """The probabilities for each batch of `batches`, which are those of `split`; the plan is for the whole split.

    Raises UserError if logits are NaN or infinite.
    """
    for batch in batches:
        images, _ = batch.on(inference.device)
        inference.plan_for(images, len(split))
        (logits,) = inference(images)
        require_finite(logits, [split.names[int(index)] for index in batch.indices])
        yield MULTILABEL.probabilities(logits).numpy(force=True)
