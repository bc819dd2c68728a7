"""Evaluate a classifier on a split: the scores of the images are added up batch by batch, and logits are not kept.

evaluated = evaluate(Inference(model, device), split, preprocess, classes)
evaluated.evaluation.top1   # an Estimate in per cent
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mixlab.data.any_preprocess import AnyPreprocess
from mixlab.data.batches import Batch, EvalBatches
from mixlab.data.dataset import Split
from mixlab.evaluation.evaluation import Evaluation, EvaluationBuffer
from mixlab.evaluation.finite import require_finite
from mixlab.evaluation.parts import Part, PartStore, Scores, images_per_part
from mixlab.report.progress import Advance, progress
from mixlab.speed.inference import Inference
from mixlab.speed.inference_plan import InferencePlan
from mixlab.speed.plan import ComputeMode

BATCH = 64

Predict = Callable[[Batch], Float[Tensor, "image class ..."]]
"""Maps a batch to logits, on any device: of each image, or of each pixel."""

Receive = Callable[[Float[Tensor, "image class"], Int64[Tensor, " image"]], None]
"""Called with the logits and the labels of each batch."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The result of `evaluate`.

    evaluation  the predictions
    scaled      the same with logits that are divided by a temperature, if one was given
    split       the images that could be read, in the order of `evaluation`
    unreadable  the reason why an image was skipped, by its name
    plan        how the model ran on the images that were not in the store
    """

    evaluation: Evaluation
    scaled: Evaluation | None
    split: Split
    unreadable: dict[str, str]
    plan: InferencePlan


def predict_fn(model: nn.Module, device: torch.device, mode: ComputeMode) -> Predict:
    """A function that runs `model` in evaluation mode and without gradients.

    model   on `device`, in the memory layout of `mode`
    device  the device that the batches are moved to
    mode    precision (autocast) and memory layout
    """
    model.eval()

    @torch.inference_mode()
    def predict(batch: Batch) -> Float[Tensor, "image class ..."]:
        images, _ = batch.on(device)
        with mode.autocast(device):
            return model(images.contiguous(memory_format=mode.memory_format))

    return predict


def evaluate(
    inference: Inference,
    split: Split,
    preprocess: AnyPreprocess,
    classes: tuple[str, ...],
    *,
    batch: int = BATCH,
    workers: int = 0,
    max_unreadable: int = 0,
    temperature: float | None = None,
    receive: Receive | None = None,
    store: PartStore | None = None,
    title: str = "evaluate",
    quiet: bool = True,
) -> Evaluated:
    """Evaluate a model.

    inference       the model, which returns logits; its plan is selected before the first image, for all of them
    split           the images, with labels that are indices into `classes`
    classes         class names, in the order of the logits
    batch           images that are read together; the plan may divide them
    workers         processes that read images
    max_unreadable  how many unreadable images are skipped
    temperature     logits are also evaluated when divided by it
    receive         called with the logits and the labels of each batch, or of each stored part
    store           finished parts are stored there, and those of an interrupted evaluation are not computed again
    title           what the progress bar shows
    quiet           no progress bar

    Raises UserError if more images are unreadable, or if logits are NaN or infinite.
    """

    def predict(batch: Batch) -> Float[Tensor, "image class"]:
        images, _ = batch.on(inference.device)
        inference.plan_for(images, len(split))
        (logits,) = inference(images)
        return logits

    def new_part(indices: Int64[np.ndarray, " image"], skipped: int) -> Part:
        images = split.subset(indices)
        batches = EvalBatches(
            images, preprocess, batch=batch, workers=workers, max_unreadable=max_unreadable - skipped, quiet=quiet
        )
        scores = score_batches(
            predict,
            _with_progress(batches, advance),
            classes,
            images.names,
            temperature=temperature,
            receive=receive,
            keep_logits=store is not None and store.with_logits,
        )
        return Part(scores, indices[batches.readable], batches.unreadable)

    parts: list[Part] = []
    with progress(title, total=len(split), quiet=quiet) as advance:
        for indices in np.array_split(np.arange(len(split)), -(-len(split) // images_per_part(len(classes)))):
            part = store.load(indices) if store else None
            if part is None:
                part = new_part(indices, skipped=sum(len(each.unreadable) for each in parts))
                if store:
                    store.save(indices, part)
            else:
                if receive and part.scores.logits is not None:
                    receive(torch.from_numpy(part.scores.logits), torch.from_numpy(part.scores.evaluation.labels))
                advance(len(part.readable))
            parts.append(part)
    return Evaluated(
        Evaluation.concat([part.scores.evaluation for part in parts]),
        Evaluation.concat([part.scores.scaled for part in parts if part.scores.scaled]) if temperature else None,
        split.subset(np.concatenate([part.readable for part in parts])),
        {name: reason for part in parts for name, reason in part.unreadable.items()},
        inference.plan,
    )


def score_batches(
    predict: Predict,
    batches: Iterable[Batch],
    classes: tuple[str, ...],
    names: Sequence[str],
    *,
    temperature: float | None = None,
    receive: Receive | None = None,
    keep_logits: bool = False,
) -> Scores:
    """Predict all batches and add up the scores of their images.

    names        the names of all images of the split, for the message about logits that are not finite
    temperature  logits are also scored when divided by it
    receive      called with the logits and the labels of each batch
    keep_logits  whether the logits are part of the result

    Raises UserError if logits are NaN or infinite.
    """
    evaluation, scaled = EvaluationBuffer(classes, len(names)), EvaluationBuffer(classes, len(names))
    stored = []
    for batch in batches:
        logits = predict(batch)
        require_finite(logits, [names[int(index)] for index in batch.indices])
        if receive:
            receive(logits, batch.labels)
        evaluation.add(logits, batch.labels)
        if temperature:
            scaled.add(logits.float() / temperature, batch.labels)
        if keep_logits:
            stored.append(logits.float().numpy(force=True))
    return Scores(
        evaluation.evaluation,
        scaled.evaluation if temperature else None,
        np.concatenate(stored) if keep_logits else None,
    )


def _with_progress(batches: Iterable[Batch], advance: Advance) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        advance(len(batch.labels))
