"""A check that logits are finite, for evaluations and predictions."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from mixlab.errors import UserError


def require_finite(logits: Float[Tensor, "image class ..."], names: Sequence[str] | None = None) -> None:
    """Raises UserError with the name of the first image whose logits are NaN or infinite, if the names are given."""
    finite = logits.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        name = "an input" if names is None else names[int(finite.logical_not().nonzero()[0])]
        raise UserError(
            f"The logits of {name} are NaN or infinite, so nothing can be predicted: the weights are damaged, or the "
            "training diverged. Use an earlier checkpoint, or train again with a lower learning rate."
        )
