"""Randomness that is derived, not stored: every draw is a function of (seed, epoch or step, image or process).

So the composition of a batch, the number of workers and an interruption change nothing. The generator is numpy's
Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): counter-based, with a raw stream that numpy
keeps from version to version, which it does not promise of `Generator`.

The 128-bit key holds the seed and the epoch (or step). The counter's words hold, from the lowest: the blocks of one
stream, the image (or process), and which of the three purposes below the stream serves.
"""

import numpy as np
from jaxtyping import Float64, Int64

_IMAGE, _ORDER, _STEP = range(3)


def image_uniforms(
    seed: int, epoch: int, indices: Int64[np.ndarray, " image"], count: int
) -> Float64[np.ndarray, "image {count}"]:
    """`count` uniform numbers in [0, 1) for each image of an epoch."""
    stream = _stream(seed, epoch, _IMAGE, 0)
    state = stream.state
    raw = np.empty((len(indices), count), dtype=np.uint64)
    for row, index in zip(raw, indices, strict=True):
        state["state"]["counter"][1] = index
        stream.state = state  # six times faster than a new generator for each image
        row[:] = stream.random_raw(count)
    return (raw >> np.uint64(11)) * 2.0**-53


def epoch_order(seed: int, epoch: int, n: int) -> Int64[np.ndarray, " {n}"]:
    """The order in which an epoch shows its `n` images."""
    return np.argsort(_stream(seed, epoch, _ORDER, 0).random_raw(n), kind="stable")


def step_seed(seed: int, step: int, process: int) -> int:
    """A seed below 2**63 for what is drawn by the batch: mixing, dropout, stochastic depth."""
    return int(_stream(seed, step, _STEP, process).random_raw()) >> 1


def _stream(seed: int, moment: int, purpose: int, member: int) -> np.random.Philox:
    return np.random.Philox(
        key=np.array([seed, moment], dtype=np.uint64),
        counter=np.array([0, member, purpose, 0], dtype=np.uint64),
    )
