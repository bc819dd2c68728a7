"""Whether an exported model gives the answers of mixlab, from the bytes of image files to the label.

Axes:  class
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from mixlab.data.image_file import read_image
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError

TOLERANCES = {"fp32": 1e-4, "fp16": 0.02, "bf16": 0.05, "int8": 0.02}
"""The largest accepted difference of a probability, by precision; in int8, from the quantised network in mixlab."""

Classify = Callable[[bytes], Float[np.ndarray, " class"]]
"""Maps the content of an image file to probabilities."""

Logits = Callable[[Float[torch.Tensor, "image 3 row column"]], Float[torch.Tensor, "image class"]]
"""Maps preprocessed images to logits."""


@dataclass(frozen=True)
class Parity:
    """The comparison of an exported model with mixlab.

    files       the number of image files
    difference  the largest difference of a probability
    tolerance   the largest accepted difference
    near_ties   files with another label, whose two largest probabilities differ by less than twice the tolerance
    """

    files: int
    difference: float
    tolerance: float
    near_ties: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        ties = f", {self.near_ties} near ties" if self.near_ties else ""
        return (
            f"{self.files:,} image files have the same label; probabilities differ by at most {self.difference:.1g} "
            f"(accepted: {self.tolerance:g}){ties}"
        )


def compare_answers(
    files: Iterable[tuple[str, bytes]],
    logits: Logits,
    preprocess: Preprocess,
    classify: Classify,
    tolerance: float,
) -> Parity:
    """Compare an exported model with mixlab on image files.

    files       names and contents
    logits      of the model in mixlab, in evaluation mode on the CPU
    preprocess  of the model
    classify    the exported model, as in another program
    tolerance   the largest accepted difference of a probability

    Raises UserError for the first file with another label that is not a near tie, or with a larger difference.
    """
    count, largest, ties = 0, 0.0, 0
    for name, content in files:
        expected = probabilities(logits, preprocess(read_image(content, preprocess.value_range)))
        found = classify(content)
        difference = float(np.abs(found - expected).max())
        second, first = np.sort(expected)[-2:] if len(expected) > 1 else (0.0, 1.0)
        has_other_label = found.argmax() != expected.argmax()
        is_tie = first - second < 2 * tolerance
        if not difference <= tolerance or (has_other_label and not is_tie):
            raise UserError(
                f"The exported model was not written, because it does not answer like mixlab for {name}: a probability "
                f"differs by {difference:.2g}, and at most {tolerance:g} is accepted. Export it in another precision."
            )
        count, largest, ties = count + 1, max(largest, difference), ties + int(has_other_label)
    return Parity(count, largest, tolerance, ties)


@torch.inference_mode()
def probabilities(logits: Logits, image: Float[torch.Tensor, "3 row column"]) -> Float[np.ndarray, " class"]:
    """The probabilities of one preprocessed image."""
    return logits(image[None]).softmax(dim=1)[0].numpy()
