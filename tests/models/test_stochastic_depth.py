"""Stochastic depth: who is left out, how often, and what the others get for it."""

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


def test_a_branch_is_kept_and_rescaled_or_left_out_for_a_whole_image():
    branch = torch.randn(200, 3, 4)
    given = StochasticDepth(0.25).train()(branch)
    left_out = (given == 0).all(dim=(1, 2))
    assert 0 < left_out.sum() < 200
    torch.testing.assert_close(given[~left_out], branch[~left_out] / 0.75)


def test_the_share_that_is_left_out_is_the_rate():
    left_out = (StochasticDepth(0.25).train()(torch.ones(10_000, 1)) == 0).double().mean().item()
    assert left_out == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 10_000) ** 0.5)


def test_evaluation_leaves_nothing_out():
    branch = torch.randn(50, 3)
    assert StochasticDepth(0.9).eval()(branch) is branch


def test_a_rate_of_0_leaves_nothing_out():
    branch = torch.randn(50, 3)
    assert StochasticDepth(0.0).train()(branch) is branch


def test_a_single_branch_is_never_left_out():
    assert linear_ramp(0.3, 1) == [0.0]


def test_mixer_s_rates_grow_linearly_from_block_to_block():
    assert rates(Mixer(MIXER)) == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


def test_davit_s_rates_grow_linearly_over_the_blocks_and_not_over_the_pairs():
    """DaViT-Tiny at 0.1: the twelve rates of the authors' code."""
    with torch.device("meta"):
        found = rates(DaViT(DAVIT_TINY))
    assert found == pytest.approx([0.1 * block / 11 for block in range(12)])


def test_both_branches_of_a_mixer_block_can_be_left_out():
    block = MixerBlock(MIXER, drop_rate=0.999).train()
    x = torch.randn(2, 4, 8)
    torch.testing.assert_close(block(x), x)


def test_both_branches_of_a_davit_block_can_be_left_out():
    """What is left are the positional encodings, which are outside the branches."""
    block = DaViTBlock(8, ChannelAttention(8, 2), drop_rate=0.999).train()
    x = torch.randn(2, 3, 3, 8)
    torch.testing.assert_close(block(x), block.mlp_position(block.attention_position(x)))
