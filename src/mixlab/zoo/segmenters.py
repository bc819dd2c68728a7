"""Segmenters from any network of the zoo: which feature maps it has, and which of its parameters they depend on."""

from typing import Any

import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.models.segmenter import Segmenter, SegmenterConfig


def segmenter(config: SegmenterConfig, backbone: nn.Module, on_meta: nn.Module) -> Segmenter:
    """A segmenter on `backbone`. Parameters on which no feature map depends are not trained.

    on_meta  the same network on the meta device

    Raises UserError if the network has no feature maps.
    """
    maps = _feature_maps(config, on_meta)
    with torch.enable_grad():
        torch.stack([each.sum() for each in maps]).sum().backward()
    unused = {name for name, parameter in on_meta.named_parameters() if parameter.grad is None}
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name not in unused)
    height, _ = height_and_width(config.image_size)
    return Segmenter(config, backbone, [each.shape[1] for each in maps], round(height / maps[0].shape[2]))


def _feature_maps(config: SegmenterConfig, on_meta: Any) -> tuple[torch.Tensor, ...]:
    if not hasattr(on_meta, "feature_maps"):
        raise UserError(
            f"{config.backbone} has no feature_maps, on which the head of a segmentation stands: use a Mixer, "
            "ConvMixer, DaViT, variant:NAME or timm:NAME."
        )
    images = torch.empty(1, config.image_channels, *height_and_width(config.image_size), device="meta")
    with torch.enable_grad():
        return on_meta.eval().feature_maps(images)
