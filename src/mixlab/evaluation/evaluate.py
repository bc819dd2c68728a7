"""Evaluate a classifier on a split: the batches are added up as they come, and logits are not kept.

evaluated = evaluate(model, split, preprocess, classes, device)
evaluated.evaluation.top1   # an Estimate in per cent
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mixlab.data.batches import Batch, EvalBatches
from mixlab.data.dataset import Split
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.evaluation.evaluation import Evaluation, score
from mixlab.report.progress import Advance, progress
from mixlab.speed.plan import ComputeMode, prepare_model

BATCH = 64

Predict = Callable[[Batch], Float[Tensor, "image class"]]
"""Maps a batch to logits, on any device."""

Receive = Callable[[Float[Tensor, "image class"], Int64[Tensor, " image"]], None]
"""Called with the logits and the labels of each batch, for example to store them."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The result of `evaluate`.

    split       the images that could be read, in the order of `evaluation`
    unreadable  the reason why an image was skipped, by its name
    """

    evaluation: Evaluation
    split: Split
    unreadable: dict[str, str]


def predict_fn(model: nn.Module, device: torch.device, mode: ComputeMode) -> Predict:
    """A function that runs `model` in evaluation mode and without gradients.

    model   on `device`, in the memory layout of `mode`
    device  the device that the batches are moved to
    mode    precision (autocast) and memory layout
    """
    model.eval()

    @torch.inference_mode()
    def predict(batch: Batch) -> Float[Tensor, "image class"]:
        images, _ = batch.on(device)
        with mode.autocast(device):
            return model(images.contiguous(memory_format=mode.memory_format))

    return predict


def evaluate(
    model: nn.Module,
    split: Split,
    preprocess: Preprocess,
    classes: tuple[str, ...],
    device: torch.device,
    *,
    batch: int = BATCH,
    workers: int = 0,
    max_unreadable: int = 0,
    receive: Sequence[Receive] = (),
    title: str = "evaluate",
    quiet: bool = True,
) -> Evaluated:
    """Evaluate a model in fp32.

    split           the images, with labels that are indices into `classes`
    classes         class names, in the order of the logits
    batch           images per forward pass
    workers         processes that read images
    max_unreadable  how many unreadable images are skipped
    receive         functions that are called with the logits of each batch
    title           what the progress bar shows
    quiet           no progress bar

    Raises UserError if more images are unreadable, or if logits are NaN or infinite.
    """
    mode = ComputeMode()
    predict = predict_fn(prepare_model(model, device, mode), device, mode)
    batches = EvalBatches(split, preprocess, batch=batch, workers=workers, max_unreadable=max_unreadable, quiet=quiet)
    with progress(title, total=len(batches.readable), quiet=quiet) as advance:
        evaluation = evaluate_batches(predict, _with_progress(batches, advance), classes, split.names, receive)
    return Evaluated(evaluation, split.subset(batches.readable), batches.unreadable)


def evaluate_batches(
    predict: Predict,
    batches: Iterable[Batch],
    classes: tuple[str, ...],
    names: Sequence[str],
    receive: Sequence[Receive] = (),
) -> Evaluation:
    """Predict all batches and add up the scores of their images.

    names  the names of all images of the split, for the message about logits that are not finite

    Raises UserError if logits are NaN or infinite.
    """
    parts = []
    for batch in batches:
        logits = predict(batch)
        _require_finite(logits, [names[int(index)] for index in batch.indices])
        for function in receive:
            function(logits, batch.labels)
        parts.append(score(logits, batch.labels, classes))
    return Evaluation.concat(parts)


def _require_finite(logits: Float[Tensor, "image class"], names: Sequence[str]) -> None:
    finite = logits.isfinite().all(dim=1)
    if not finite.all():
        name = names[int(finite.logical_not().nonzero()[0])]
        raise UserError(
            f"The logits of {name} are NaN or infinite, so nothing can be predicted: the weights are damaged, or the "
            "training diverged. Use an earlier checkpoint, or train again with a lower learning rate."
        )


def _with_progress(batches: Iterable[Batch], advance: Advance) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        advance(len(batch.labels))
