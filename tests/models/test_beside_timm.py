"""One small model of each family compared with timm's class with the same weights.

Other tests compare the published sizes and weights with timm; these small models show which layer differs.
"""

import pytest
import torch
from torch import nn

from mixlab.models.convmixer import ConvMixer, ConvMixerConfig
from mixlab.models.davit import DaViT, DaViTConfig
from mixlab.models.mixer import Mixer, MixerConfig

pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')


def difference(ours: nn.Module, theirs: nn.Module, images: torch.Tensor) -> float:
    """Largest difference of the logits relative to the largest logit. Both state_dicts have the same order."""
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    logits, expected = ours(images.double()), theirs.double().eval()(images.double())
    return ((logits - expected).abs().max() / expected.abs().max()).item()


def test_mixer_equals_timm_s(randomised):
    from timm.models.mlp_mixer import MlpMixer

    config = MixerConfig(
        image_size=(24, 40),
        classes=5,
        patch_size=8,
        channels=16,
        token_hidden=8,
        channel_hidden=64,
        depth=2,
        gelu="erf",
    )
    theirs = MlpMixer(num_classes=5, img_size=(24, 40), patch_size=8, num_blocks=2, embed_dim=16)  # pyright: ignore
    assert difference(randomised(Mixer(config)), theirs, torch.randn(2, 3, 24, 40)) < 1e-12


def test_convmixer_equals_timm_s(randomised):
    from timm.models.convmixer import ConvMixer as TimmConvMixer

    config = ConvMixerConfig(image_size=33, classes=5, patch_size=4, kernel_size=5, channels=16, depth=2)
    theirs = TimmConvMixer(dim=16, depth=2, kernel_size=5, patch_size=4, num_classes=5)
    assert difference(randomised(ConvMixer(config)), theirs, torch.randn(2, 3, 33, 47)) < 1e-12


@pytest.mark.parametrize("kernel", [2, 3])
def test_davit_equals_timm_s_with_padding_in_stem_windows_and_merging(randomised, kernel):
    from timm.models.davit import DaVit

    config = DaViTConfig(
        classes=5, channels=(8, 16), depths=(1, 2), heads=(2, 4), window=3, merge_kernel=kernel, image_size=33
    )
    theirs = DaVit(
        embed_dims=(8, 16), window_size=3, down_kernel_size=kernel, num_classes=5, depths=(1, 2), num_heads=(2, 4)
    )
    assert difference(randomised(DaViT(config)), theirs, torch.randn(2, 3, 33, 47)) < 1e-12


def test_florence_2_s_davit_equals_timm_s(randomised):
    from timm.models.davit import DaVit

    config = DaViTConfig(
        classes=0,
        channels=(8, 16),
        depths=(1, 2),
        heads=(2, 4),
        window=3,
        merge_kernel=3,
        image_size=33,
        channel_attention="florence2",
    )
    theirs = DaVit(
        embed_dims=(8, 16),
        window_size=3,
        down_kernel_size=3,
        num_classes=0,
        depths=(1, 2),
        num_heads=(2, 4),
        channel_attn_v2=True,
        named_blocks=True,
    )
    assert difference(randomised(DaViT(config)), theirs, torch.randn(2, 3, 33, 47)) < 1e-12
