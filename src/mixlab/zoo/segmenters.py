"""Segmenters from any network of the zoo: which feature maps it has, and which parameters the logits depend on."""

from typing import Any

import torch
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.models.segmenter import Segmenter, SegmenterConfig


def segmenter(config: SegmenterConfig, backbone: nn.Module, on_meta: nn.Module) -> Segmenter:
    """A segmenter on `backbone`. Parameters on which no logit depends are not trained.

    on_meta  the same network on the meta device

    Raises UserError if the network has no feature maps, or if the decoder needs others.
    """
    height, width = height_and_width(config.image_size)
    images = torch.empty(1, config.image_channels, height, width, device="meta")
    with torch.enable_grad(), torch.device("meta"):
        maps = _feature_maps(config.backbone, on_meta.eval(), images)
        channels, stride = [each.shape[1] for each in maps], round(height / maps[0].shape[2])
        probe = Segmenter(config, on_meta, channels, stride).eval()
        probe(images).sum().backward()
    unused = {name for name, parameter in probe.named_parameters() if parameter.grad is None}
    model = Segmenter(config, backbone, channels, stride)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in unused)
    return model


def _feature_maps(family: str, model: Any, images: Tensor) -> tuple[Tensor, ...]:
    if not hasattr(model, "feature_maps"):
        raise UserError(
            f"{family} has no feature_maps, on which the head of a segmentation stands: use a Mixer, ConvMixer, DaViT, "
            "variant:NAME or timm:NAME."
        )
    return model.feature_maps(images)
