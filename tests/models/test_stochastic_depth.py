"""Stochastic depth: which branches are dropped, how often, and how the others are rescaled."""

import pytest
import torch

from mixlab.models.davit import ChannelAttention, DaViT, DaViTBlock, DaViTConfig
from mixlab.models.mixer import Mixer, MixerBlock, MixerConfig
from mixlab.models.stochastic_depth import StochasticDepth, linear_ramp

MIXER = MixerConfig(
    image_size=8, classes=5, patch_size=4, channels=8, token_hidden=4, channel_hidden=8, depth=5, stochastic_depth=0.2
)
DAVIT_TINY = DaViTConfig(stochastic_depth=0.1)


def rates(model):
    return [module.rate for module in model.modules() if isinstance(module, StochasticDepth)]


def test_a_branch_is_dropped_or_rescaled_for_a_whole_image():
    branch = torch.randn(200, 3, 4)
    output = StochasticDepth(0.25).train()(branch)
    dropped = (output == 0).all(dim=(1, 2))
    assert 0 < dropped.sum() < 200
    torch.testing.assert_close(output[~dropped], branch[~dropped] / 0.75)


def test_the_fraction_of_dropped_branches_is_the_rate():
    dropped = (StochasticDepth(0.25).train()(torch.ones(10_000, 1)) == 0).double().mean().item()
    assert dropped == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 10_000) ** 0.5)


def test_nothing_is_dropped_in_evaluation_mode():
    branch = torch.randn(50, 3)
    assert StochasticDepth(0.9).eval()(branch) is branch


def test_nothing_is_dropped_at_rate_0():
    branch = torch.randn(50, 3)
    assert StochasticDepth(0.0).train()(branch) is branch


def test_a_single_branch_has_rate_0():
    assert linear_ramp(0.3, 1) == [0.0]


def test_mixer_s_rates_increase_linearly_over_the_blocks():
    assert rates(Mixer(MIXER)) == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


def test_davit_s_rates_increase_linearly_over_the_blocks_and_not_over_the_pairs():
    """DaViT-Tiny at 0.1: the twelve rates of the authors' code."""
    with torch.device("meta"):
        davit_rates = rates(DaViT(DAVIT_TINY))
    assert davit_rates == pytest.approx([0.1 * block / 11 for block in range(12)])


def test_both_branches_of_a_mixer_block_can_be_dropped():
    block = MixerBlock(MIXER, drop_rate=0.999).train()
    x = torch.randn(2, 4, 8)
    torch.testing.assert_close(block(x), x)


def test_both_branches_of_a_davit_block_can_be_dropped():
    """The positional encodings remain, because they are outside the branches."""
    block = DaViTBlock(8, ChannelAttention(8, 2), drop_rate=0.999).train()
    x = torch.randn(2, 3, 3, 8)
    torch.testing.assert_close(block(x), block.mlp_position(block.attention_position(x)))
