"""Filters of a model as maps over positions: how smooth they are, and in which order they are shown.

The frequency of a map is the mean radial frequency of its two-dimensional discrete Fourier transform, weighted by
power, after its mean is removed. A cosine with k periods across n positions has frequency k / n.

Axes:  unit         one map: a row of a token MLP's first layer, or the kernel of a channel
       row, column  positions
       position     the same, in row-major order
"""

import numpy as np
from jaxtyping import Float, Int

from mixlab.data.rng import named_generator

Maps = Float[np.ndarray, "unit row column"]


def radial_frequencies(rows: int, columns: int) -> Float[np.ndarray, "{rows} {columns}"]:
    """The distance of each two-dimensional frequency from 0, in periods per position: 0 to 0.71."""
    return np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)[None])


def frequencies(maps: Maps) -> Float[np.ndarray, " unit"]:
    """The frequency of each map, in periods per position; 0 for a constant map."""
    power = np.abs(np.fft.fft2(maps - maps.mean(axis=(1, 2), keepdims=True))) ** 2
    total = power.sum(axis=(1, 2))
    weighted = (power * radial_frequencies(*maps.shape[1:])).sum(axis=(1, 2))
    return np.divide(weighted, total, out=np.zeros_like(total), where=total > 0)


def order_with_inverses(maps: Maps) -> Int[np.ndarray, " unit"]:
    """Indices of the maps: pairs of a map and its nearest inverse, by their mean frequency. An odd map is last.

    Pairs are formed from the lowest frequency on. The nearest inverse of u among the maps without a pair is the v with
    the smallest norm of u / |u| + v / |v|. MLP-Mixer's figures show such an order, but its paper does not define it
    (Tolstikhin et al. 2021, appendix D).
    """
    frequency = frequencies(maps)
    flat = maps.reshape(len(maps), -1)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 0)
    cosines = unit @ unit.T
    left = list(np.argsort(frequency, kind="stable"))
    pairs = []
    while len(left) > 1:
        first = left.pop(0)
        inverse = min(left, key=lambda index: cosines[first, index])
        left.remove(inverse)
        pairs.append((first, inverse))
    pairs.sort(key=lambda pair: frequency[list(pair)].mean())
    return np.array([index for pair in pairs for index in pair] + left, dtype=int)


def permuted_frequencies(maps: Maps, permutations: int, seed: int) -> Float[np.ndarray, " permutation"]:
    """The mean frequency of the maps after each of `permutations` random permutations of their positions.

    All maps of one permutation are permuted alike, so that the null hypothesis is that the arrangement of the positions
    in the grid means nothing to the weights. Without constant maps, the expected value is the mean of
    `radial_frequencies` without that of 0.
    """
    _, rows, columns = maps.shape
    centred = (maps - maps.mean(axis=(1, 2), keepdims=True)).reshape(len(maps), -1)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 0)
    # A map's frequency is the quadratic form of its normalised values with the transform of the radial frequencies.
    products = unit.T @ unit / len(maps)
    kernel = np.fft.ifft2(radial_frequencies(rows, columns)).real
    row, column = np.divmod(np.arange(rows * columns), columns)
    form = kernel[(row[:, None] - row) % rows, (column[:, None] - column) % columns]
    rng = named_generator("permuted frequencies", seed)
    orders = (rng.permutation(rows * columns) for _ in range(permutations))
    return np.array([(products[np.ix_(order, order)] * form).sum() for order in orders])


def smoothness_p(maps: Maps, permuted: Float[np.ndarray, " permutation"]) -> float:
    """The p-value that the maps are smoother than with permuted positions: the share with a mean as low, with itself.

    Phipson and Smyth 2010, section 2: the observed arrangement counts as one of the permutations.
    """
    observed = frequencies(maps).mean()
    return float((1 + (permuted <= observed * (1 + 1e-12)).sum()) / (1 + len(permuted)))
