"""timm's own model of an architecture of mixlab.

It is built from timm's class, because timm has registered names for some sizes only.
"""

from functools import partial

from torch import nn

from mixlab.models.convmixer import ConvMixerConfig
from mixlab.models.davit import DaViTConfig
from mixlab.models.mixer import MixerConfig
from mixlab.zoo.architecture import Architecture, make_config
from mixlab.zoo.timm_models import TimmConfig, TimmModel, import_timm


def timm_network(architecture: Architecture) -> nn.Module | None:
    """timm's model with the layers and sizes of `architecture` and random weights; None if timm has no such model."""
    import_timm()
    from timm.models.convmixer import ConvMixer
    from timm.models.davit import DaVit
    from timm.models.mlp_mixer import MlpMixer

    if architecture.family.startswith(("variant:", "py:")):
        return None
    config = make_config(architecture.family, architecture.config)
    match config:
        case TimmConfig():
            return TimmModel(config).network
        case MixerConfig():
            return MlpMixer(
                num_classes=config.classes,
                img_size=config.image_size,  # pyright: ignore[reportArgumentType]  # it also accepts (height, width)
                in_chans=config.image_channels,
                patch_size=config.patch_size,
                num_blocks=config.depth,
                embed_dim=config.channels,
                mlp_ratio=(config.token_hidden / config.channels, config.channel_hidden / config.channels),
                act_layer=partial(nn.GELU, approximate="none" if config.gelu == "erf" else "tanh"),  # pyright: ignore[reportArgumentType]
            )
        case ConvMixerConfig():
            return ConvMixer(
                num_classes=config.classes,
                in_chans=config.image_channels,
                dim=config.channels,
                depth=config.depth,
                kernel_size=config.kernel_size,
                patch_size=config.patch_size,
                act_layer=nn.GELU if config.activation == "gelu" else nn.ReLU,
            )
        case DaViTConfig():
            return DaVit(
                num_classes=config.classes,
                in_chans=config.image_channels,
                embed_dims=config.channels,
                depths=config.depths,
                num_heads=config.heads,
                window_size=config.window,
                down_kernel_size=config.merge_kernel,
            )
        case _:
            return None
