"""The variants of a Mixer: the parts they share with it, and their token mixing."""

import pytest
import torch

from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.models.variants.attention_mixer import attention_mixer
from mixlab.models.variants.pooling_mixer import pooling_mixer

CONFIG = MixerConfig(image_size=16, classes=3, patch_size=4, channels=32, token_hidden=16, channel_hidden=32, depth=2)
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("build", [attention_mixer, pooling_mixer])
def test_a_variant_has_the_parameters_of_a_mixer_outside_token_mixing(build):
    def outside_token_mixing(model: Mixer) -> dict[str, torch.Size]:
        return {name: tensor.shape for name, tensor in model.state_dict().items() if "channel_mlp" in name}

    assert outside_token_mixing(build(CONFIG)) == outside_token_mixing(Mixer(CONFIG)) != {}


@pytest.mark.parametrize("build", [attention_mixer, pooling_mixer])
def test_the_order_of_patches_has_no_effect_without_token_mlps(build):
    """No variant has a position embedding; a Mixer's token MLPs have separate weights for each position."""
    torch.manual_seed(0)
    variant, mixer = build(CONFIG).eval(), Mixer(CONFIG).eval()
    flipped = IMAGES.unflatten(2, (4, 4)).flip(2).flatten(2, 3)  # rows of patches in reverse order
    torch.testing.assert_close(variant.embed(flipped), variant.embed(IMAGES), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(mixer.embed(flipped), mixer.embed(IMAGES), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("build", [attention_mixer, pooling_mixer])
def test_every_patch_has_an_effect_on_every_other(build):
    torch.manual_seed(0)
    model = build(CONFIG).eval()
    images = IMAGES.clone().requires_grad_()
    tokens = model.body[0](model.stem(images).flatten(2).transpose(1, 2))
    (gradient,) = torch.autograd.grad(tokens[:, 0].square().sum(), images)
    by_patch = gradient.unflatten(3, (4, 4)).unflatten(2, (4, 4)).abs().amax(dim=(1, 3, 5))
    assert (by_patch > 0).all()


def test_pooling_has_no_parameters_that_mix_tokens():
    assert not [name for name in pooling_mixer(CONFIG).state_dict() if "token_mlp" in name or "attention" in name]
