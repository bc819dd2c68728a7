"""Plasma fractals: random height maps with structure on all scales.

They are made by the diamond-square algorithm on a torus (Fournier, Fussell and Carpenter 1982, "Computer rendering of
stochastic models"), with the amplitudes that make_imagenet_c.py of hendrycks/robustness uses for fog.
"""

import numpy as np
from jaxtyping import Float64


def plasma(side: int, decay: float, rng: np.random.Generator) -> Float64[np.ndarray, "size size"]:
    """Heights from 0 to 1.

    side   the size of the map is the next power of two from here on
    decay  how much the amplitude decreases when the scale is halved, before it is squared
    """
    size = 1 << (side - 1).bit_length()
    heights = np.zeros((size, size))
    step, amplitude = size, 100.0

    def noise(shape: tuple[int, ...]) -> Float64[np.ndarray, "row column"]:
        return amplitude * rng.uniform(-amplitude, amplitude, shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        rows = corners + np.roll(corners, -1, axis=0)
        centres = (rows + np.roll(rows, -1, axis=1)) / 4 + noise(corners.shape)
        heights[half::step, half::step] = centres
        above, beside = np.roll(centres, 1, axis=0), np.roll(centres, 1, axis=1)
        heights[::step, half::step] = (centres + above + corners + np.roll(corners, -1, axis=1)) / 4 + noise(
            corners.shape
        )
        heights[half::step, ::step] = (centres + beside + corners + np.roll(corners, -1, axis=0)) / 4 + noise(
            corners.shape
        )
        step, amplitude = half, amplitude / decay
    heights -= heights.min()
    return heights / heights.max()
