"""Class activation maps: the contribution of each place of an image to the logit of each class (Zhou et al. 2016).

The head of the three families is linear and stands on a mean over places, so the logit of a class is the sum of its map
over all places, plus the bias of the head. This is exact, and needs no gradients. https://arxiv.org/abs/1512.04150
"""

from typing import Any

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.models.davit import DaViT


def logits_and_class_maps(
    model: Any, images: Float[Tensor, "batch image_channel height width"]
) -> tuple[Float[Tensor, "batch class"], Float[Tensor, "batch class row column"]]:
    """The logits of a model, and the contribution of each place to them.

    model  has `feature_maps` and a linear `head`, like Mixer, ConvMixer and DaViT
    """
    places = _places(model, images)
    maps = einsum(places, model.head.weight, "batch row column channel, logit channel -> batch logit row column")
    return model.head(places.mean(dim=(1, 2))), maps / places[0, :, :, 0].numel()


def has_class_maps(model: nn.Module, images: Float[Tensor, "batch image_channel height width"]) -> bool:
    """Whether the class maps of `model` add up to its logits for these images.

    False for models without feature maps, such as those of timm, and for models of one's own whose embedding is not the
    mean of the feature maps.
    """
    if not (hasattr(model, "feature_maps") and isinstance(getattr(model, "head", None), nn.Linear)):
        return False
    with torch.no_grad():
        logits, _ = logits_and_class_maps(model, images)
        return torch.allclose(logits, model(images), rtol=1e-4, atol=1e-4)


def _places(model: Any, images: Tensor) -> Float[Tensor, "batch row column channel"]:
    """Features of each place, whose mean over places is the embedding."""
    features = rearrange(model.feature_maps(images)[-1], "batch channel row column -> batch row column channel")
    if not (isinstance(model, DaViT) and isinstance(model.norm, nn.LayerNorm)):
        return features
    if model.config.head_order == "norm-pool":
        return model.norm(features)
    pooled = features.mean(dim=(1, 2), keepdim=True)  # the norm of the mean is linear once its statistics are known
    variance, mean = torch.var_mean(pooled, dim=3, correction=0, keepdim=True)
    return (features - mean) * (variance + model.norm.eps).rsqrt() * model.norm.weight + model.norm.bias
