"""The patches of a model: their side in pixels, and their grid in a model of timm."""

from typing import Any

from mixlab.models.davit import DaViT
from mixlab.zoo.architecture import Model
from mixlab.zoo.timm_models import TimmModel

_DAVIT_PATCH = 4  # the stride of its stem in pixels


def patch_size(model: Model) -> int:
    """The longer side of a patch in pixels; 1 for a model without patches."""
    if isinstance(model, DaViT):
        return _DAVIT_PATCH
    if isinstance(model, TimmModel):
        size = getattr(_timm_patches(model.network), "patch_size", 1)
    else:
        size = getattr(model.config, "patch_size", 1)
    return max(size) if isinstance(size, tuple) else size


def timm_grid(network: Any) -> tuple[int, int] | None:
    """(rows, columns) of patches of a model of timm; None for a model without patches."""
    return getattr(_timm_patches(network), "grid_size", None)


def _timm_patches(network: Any) -> Any:
    """The patch embedding. Models of timm have it under one of two names."""
    return getattr(network, "patch_embed", None) or getattr(network, "stem", None)
