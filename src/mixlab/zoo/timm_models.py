"""timm's models as architectures: every name that timm registers, and two of its classes in unregistered sizes.

Their weights are always random, and nothing is downloaded.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache, partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from mixlab.errors import UserError, did_you_mean
from mixlab.models.contract import ImageSize

_LEVELS = 4

_FROM_TIMM = {"img_size": "image_size", "in_chans": "image_channels", "num_classes": "classes"}


@dataclass(frozen=True, kw_only=True)
class TimmConfig:
    name: str
    image_size: ImageSize
    image_channels: int = 3
    classes: int = 1000
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of timm's constructor, with timm's names


def timm_config_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a TimmConfig, with the default image size if none is given.

    `given` has fields by their names in mixlab or in timm, and further arguments of timm's constructor.
    """
    given = {"image_size": default_image_size(given["name"]), **from_timm_names(given)}
    own = {field.name for field in fields(TimmConfig)}
    arguments = {name: value for name, value in given.items() if name not in own}
    return {name: value for name, value in given.items() if name in own} | {
        "arguments": {**given.get("arguments", {}), **arguments}
    }


def from_timm_names(given: Mapping[str, Any]) -> dict[str, Any]:
    return {_FROM_TIMM.get(name, name): value for name, value in given.items()}


class TimmModel(nn.Module):
    """A timm model with the interface of mixlab's models: `config`, `embed`, and `forward`, which returns logits."""

    def __init__(self, config: TimmConfig):
        super().__init__()
        self.config = config
        self.network: Any = _network(config)  # timm has no common type with the methods that `embed` calls

    def embed(self, images: Tensor) -> Tensor:
        """The pooled features (batch, channel), which are the input of the head."""
        return self.network.forward_head(self.network.forward_features(images), pre_logits=True)

    def embed_and_classify(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The pooled features (batch, channel) and the logits (batch, class)."""
        features = self.network.forward_features(images)
        return self.network.forward_head(features, pre_logits=True), self.network.forward_head(features)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """The last map (batch, channel, row, column) of each resolution, at most four, highest resolution first.

        Raises UserError for a model whose maps timm does not return.
        """
        last_of = {layer["reduction"]: index for index, layer in enumerate(getattr(self.network, "feature_info", []))}
        if not last_of or not hasattr(self.network, "forward_intermediates"):
            raise UserError(
                f"timm returns no feature maps of timm:{self.config.name}: use another model, such as timm:resnet18."
            )
        indices = list(last_of.values())[-_LEVELS:]
        return tuple(self.network.forward_intermediates(images, indices=indices, norm=True, intermediates_only=True))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def layers_of_timm(model: TimmModel) -> dict[str, int]:
    """The layer of each parameter as defined by timm, from 0 for the stem to the last one for the head.

    Raises UserError if timm does not define the layers of this model.
    """
    from timm.models import group_parameters

    try:
        matcher = model.network.group_matcher(coarse=False)
    except (AttributeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"timm does not define the layers of timm:{model.config.name}, which optimizer.layer_decay and "
            'optimizer.name="muon" need: remove optimizer.layer_decay, or set optimizer.name="adamw".'
        ) from error
    depth_of: Any = group_parameters(model.network, matcher, reverse=True)
    return {f"network.{name}": depth for name, depth in depth_of.items()}


def import_timm() -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UserError(
            'Models that begin with "timm:", resnet_nano and vit_nano are built by timm, which is not installed: '
            'run `pip install "mixlab[baselines]"`.'
        ) from error
    return timm


def published_by_timm(name: str) -> Any:
    """timm's PretrainedCfg for NAME.TAG, or for NAME with timm's default tag. Raises UserError for an unknown name."""
    models = import_timm().models
    if name not in (known := models.list_pretrained()):
        raise UserError(
            f'timm has no weights "{name}": give a name with a tag, such as timm:resnet50.a1_in1k; '
            f"timm.list_pretrained() lists all names. {did_you_mean(name, known)}".rstrip()
        )
    return models.get_pretrained_cfg(name)


def default_image_size(name: str) -> ImageSize:
    """The default input size of `name` in timm, in pixels."""
    timm = import_timm()
    published = timm.models.get_pretrained_cfg(_require_known(name))
    if published is None:
        return 224
    _, height, width = published.input_size
    return height if height == width else (height, width)


def cifar_resnet(
    layers: Sequence[int], channels: Sequence[int], num_classes: int, in_chans: int, drop_path_rate: float = 0.0
) -> nn.Module:
    """A ResNet for small images: a 3x3 stem of stride 1 and no max-pool (He et al. 2015, section 4.2)."""
    from timm.models.resnet import BasicBlock, ResNet

    # Only the width of the deep stem can be set in timm. The stem is then replaced by a single convolution.
    model = ResNet(
        BasicBlock,  # pyright: ignore[reportArgumentType]  # timm's annotation means the class
        tuple(layers),
        num_classes,
        in_chans,
        channels=tuple(channels),
        stem_type="deep",
        stem_width=channels[0] // 2,
        drop_path_rate=drop_path_rate,
    )
    model.conv1 = nn.Conv2d(in_chans, channels[0], kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model


def bit(layers: Sequence[int], width_factor: int, num_classes: int, in_chans: int) -> nn.Module:
    """A BiT ResNet (Kolesnikov et al. 2019), with the same layers as the sizes that timm registers."""
    from timm.layers.std_conv import StdConv2d
    from timm.models.resnetv2 import ResNetV2

    return ResNetV2(
        list(layers),
        num_classes=num_classes,
        in_chans=in_chans,
        width_factor=width_factor,
        stem_type="fixed",
        conv_layer=partial(StdConv2d, eps=1e-8),
    )


POSITIONS = ("sincos", "learned", "none")


def plain_vit(
    img_size: ImageSize,
    patch_size: int,
    embed_dim: int,
    depth: int,
    num_heads: int,
    num_classes: int,
    in_chans: int,
    drop_path_rate: float = 0.0,
    positions: str = "sincos",
) -> nn.Module:
    """A ViT with average pooling, and fixed 2-D sin-cos positions (Beyer et al. 2022, https://arxiv.org/abs/2205.01580).

    `positions`: "sincos", for which `embed_dim` must be a multiple of 4; "learned", a vector for each patch as of
    Dosovitskiy et al. (2020); or "none". Raises ValueError for another one.
    """
    if positions not in POSITIONS:
        raise ValueError(f"positions must be one of {', '.join(POSITIONS)}")
    from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(
        img_size,
        patch_size,
        in_chans,
        num_classes,
        global_pool="avg",
        class_token=False,
        fc_norm=False,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        drop_path_rate=drop_path_rate,
        pos_embed="none" if positions == "none" else "learn",
        weight_init="jax",
    )
    if positions == "sincos":
        del model.pos_embed
        model.register_buffer("pos_embed", build_sincos2d_pos_embed(list(model.patch_embed.grid_size), embed_dim)[None])
    return model


UNREGISTERED: Mapping[str, Callable[..., nn.Module]] = {
    "cifar_resnet": cifar_resnet,
    "bit": bit,
    "plain_vit": plain_vit,
}


def _require_known(name: str) -> str:
    names = [*UNREGISTERED, *import_timm().list_models()]
    if name not in names:
        raise UserError(
            f'timm has no model "{name}": give a name without a tag, because the weights are random. '
            f"{did_you_mean(name.partition('.')[0], names)}".rstrip()
        )
    return name


def _network(config: TimmConfig) -> nn.Module:
    build = UNREGISTERED.get(config.name) or partial(import_timm().create_model, _require_known(config.name))
    accepted = constructor_fields(config.name)
    for field_name in config.arguments:
        if field_name not in accepted:
            raise UserError(
                f'"{field_name}" is not a field of timm:{config.name}: '
                f"{did_you_mean(field_name, accepted) or 'its fields are ' + ', '.join(sorted(accepted)) + '.'}"
            )
    arguments = {timm_name: getattr(config, name) for timm_name, name in _FROM_TIMM.items() if timm_name in accepted}
    arguments |= config.arguments
    try:
        return build(**arguments)
    except (AssertionError, TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value}" for name, value in arguments.items())
        raise UserError(
            f'timm:{config.name} can\'t be built with {given}: timm raises "{error}". Change or remove that field.'
        ) from error


@cache
def constructor_fields(name: str) -> frozenset[str]:
    """The parameter names of the constructor of `name`. They are read from the class of a model on the meta device."""
    if name in UNREGISTERED:
        return frozenset(inspect.signature(UNREGISTERED[name]).parameters)
    with torch.device("meta"):
        model = import_timm().create_model(name)
    return frozenset(inspect.signature(type(model)).parameters) - {"cfg", "kwargs", "device", "dtype"}
