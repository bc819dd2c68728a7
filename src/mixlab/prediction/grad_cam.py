"""Grad-CAM: which places of a feature map raise the logit of a label.

Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391. The map is the sum over the channels of the feature map, each
weighted by the mean gradient of the logit over all places, as in captum's LayerGradCam. Negative values are not set to
0, which the paper does. For a model whose head is applied to the mean of the map, as in Mixer and ConvMixer, the values
add up to the logit without its bias: they are the contributions of the places to the logit. For other models this is
true to first order only.

A network is split at its feature map, so that no knowledge of its layout is needed: `feature_maps(images)` gives the
map, and the rest is one of a few ways from the map to the logits. A way is used if it gives the logits of the model.

Axes:  batch, channel, row, column  of a feature map
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.models.davit import DaViT
from mixlab.prediction.importance_map import ImportanceMap, equal_spans
from mixlab.prediction.patches import timm_grid
from mixlab.zoo.architecture import Model
from mixlab.zoo.timm_models import TimmModel

_CHANNELS_LAST = "batch channel row column -> batch row column channel"
_CHANNELS_FIRST = "batch row column channel -> batch channel row column"

_TOLERANCE = 1e-3  # relative to the largest logit, of logits that are computed in another order


class SplitModel(nn.Module):
    """A model in evaluation mode that computes its logits from its feature map, which is the output of `map`."""

    def __init__(self, to_map: Callable[[Tensor], Tensor], to_logits: Callable[[Tensor], Tensor]):
        super().__init__()
        self.map = nn.Identity()
        self._to_map, self._to_logits = to_map, to_logits

    def forward(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch class"]:
        return self._to_logits(self.map(self._to_map(images)))


def split_at_map(model: Model, stage: int | None) -> SplitModel:
    """The model, split at the feature map of a stage.

    model  in evaluation mode and in fp32
    stage  of a DaViT, from 1 to the number of its stages; None: the last one

    Raises UserError if the model has no feature maps that lead to its logits, or no such stage, or if captum is not
    installed.
    """
    _layer_grad_cam()
    if stage is not None and not isinstance(model, DaViT):
        raise UserError(
            "--stage is only possible for a DaViT, because other models have one feature map: leave it out."
        )
    if isinstance(model, DaViT) and stage is not None and not 1 <= stage <= len(model.body):
        raise UserError(f"--stage {stage} is out of range: this DaViT has the stages 1 to {len(model.body)}.")
    shape = (1, model.config.image_channels, *height_and_width(model.config.image_size))
    images = torch.linspace(-1, 1, prod(shape), device=next(model.parameters()).device).reshape(shape)
    with torch.no_grad():
        logits = model(images)
        for split in _splits(model, images, stage):
            if _gives(logits, split, images):
                return split
    raise UserError(
        f"{'This model' if stage is None else f'Stage {stage} of this model'} has no feature map from which its logits "
        "are computed, as Grad-CAM needs it: use --method occlusion, which works for every model."
    )


def _gives(logits: Tensor, split: SplitModel, images: Tensor) -> bool:
    try:
        difference = (split(images) - logits).abs().max()
        return bool(difference <= _TOLERANCE * logits.abs().max())
    except Exception:  # the norm or the head takes inputs of another shape, and user code fails in many ways
        return False


def grad_cam_map(split: SplitModel, image: Float[Tensor, "1 image_channel height width"], label: int) -> ImportanceMap:
    """The contribution of each place of the feature map to the logit of class `label`."""
    values = _layer_grad_cam()(split, split.map).attribute(image, target=label)[0, 0].detach().cpu()
    (height, width), (rows, columns) = image.shape[2:], values.shape
    return ImportanceMap("grad-cam", values.numpy(), equal_spans(height, rows), equal_spans(width, columns))


def _layer_grad_cam() -> Any:
    try:
        from captum.attr import LayerGradCam
    except ModuleNotFoundError as error:
        raise UserError(
            'Grad-CAM is computed by captum, which is not installed: run `pip install "mixlab[explain]"`, or use '
            "--method occlusion."
        ) from error
    return LayerGradCam


_Step = Callable[[Tensor], Tensor]


def _splits(model: Model, images: Tensor, stage: int | None) -> Iterator[SplitModel]:
    """The ways to compute the logits from a feature map."""
    if isinstance(model, TimmModel):
        yield from _timm_splits(model.network, images)
    elif isinstance(model, DaViT) and stage is not None and stage < len(model.body):
        for ending in _endings(model):
            yield SplitModel(_feature_map(model, stage - 1), _through_stages(model.body[stage:], ending))
    elif hasattr(model, "feature_maps"):
        for ending in _endings(model):
            yield SplitModel(_feature_map(model, -1), ending)


def _feature_map(model: Any, index: int) -> _Step:
    return lambda images: model.feature_maps(images)[index]


def _endings(model: Any) -> tuple[_Step, ...]:
    """The ways from the last feature map to the logits that the families have."""
    return (
        lambda x: model.head(x.mean(dim=(2, 3))),
        lambda x: model.head(model.norm(x.mean(dim=(2, 3)))),
        lambda x: model.head(model.norm(rearrange(x, _CHANNELS_LAST)).mean(dim=(1, 2))),
    )


def _through_stages(stages: nn.Module, ending: _Step) -> _Step:
    return lambda x: ending(rearrange(stages(rearrange(x, _CHANNELS_LAST)), _CHANNELS_FIRST))


def _timm_splits(network: Any, images: Tensor) -> Iterator[SplitModel]:
    """The way through `forward_features`, if they are a map: channels first or last, or one token for each patch."""
    features = network.forward_features(images)
    grid = timm_grid(network)
    if not isinstance(features, Tensor):
        return
    if features.ndim == 4 and getattr(network, "output_fmt", "NCHW") == "NCHW":
        yield SplitModel(network.forward_features, network.forward_head)
    elif features.ndim == 4:
        yield _rearranged(network, _CHANNELS_FIRST, _CHANNELS_LAST)
    elif features.ndim == 3 and grid is not None and prod(grid) == features.shape[1]:
        to_map = "batch (row column) channel -> batch channel row column"
        yield _rearranged(network, to_map, "batch channel row column -> batch (row column) channel", row=grid[0])


def _rearranged(network: Any, to_map: str, to_features: str, **axes: int) -> SplitModel:
    return SplitModel(
        lambda images: rearrange(network.forward_features(images), to_map, **axes),
        lambda x: network.forward_head(rearrange(x, to_features)),
    )
