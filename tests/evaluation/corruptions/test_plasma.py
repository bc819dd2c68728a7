import numpy as np
import pytest

from mixlab.evaluation.corruptions.plasma import plasma


@pytest.mark.parametrize(("side", "size"), [(2, 2), (32, 32), (33, 64), (224, 256)])
def test_the_size_is_the_next_power_of_two(side, size):
    heights = plasma(side, 2.0, np.random.default_rng(0))
    assert heights.shape == (size, size)
    assert (heights.min(), heights.max()) == (0, 1)


def test_a_smaller_decay_has_finer_structure():
    def roughness(decay):
        heights = plasma(128, decay, np.random.default_rng(0))
        return np.abs(np.diff(heights, axis=0)).mean() / heights.std()

    assert roughness(1.1) > 2 * roughness(1.4) > 4 * roughness(2.0)


def test_the_map_continues_at_its_opposite_border():
    heights = plasma(128, 2.0, np.random.default_rng(0))
    inner = np.abs(np.diff(heights, axis=1)).mean()
    assert np.abs(heights[:, 0] - heights[:, -1]).mean() < 2 * inner
