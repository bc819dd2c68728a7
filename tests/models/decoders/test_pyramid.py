"""Simple feature pyramids."""

import torch

from mixlab.models.decoders.pyramid import Pyramid


def test_the_pyramid_of_one_map_has_strides_of_4_8_16_and_32_pixels():
    for stride in (2, 4, 7, 8, 16, 32):
        sides = [level.shape[-1] for level in Pyramid([4], stride)([torch.zeros(1, 4, 224 // stride, 224 // stride)])]
        expected = {7: [64, 32, 16, 8]}.get(stride, [56, 28, 14, 7])
        assert sides == expected, stride


def test_a_network_with_several_maps_keeps_them():
    maps = [torch.zeros(1, channels, 4, 4) for channels in (2, 3)]
    pyramid = Pyramid([2, 3], 4)
    assert pyramid(maps) == maps
    assert pyramid.channels == (2, 3)
    assert not list(pyramid.parameters())
