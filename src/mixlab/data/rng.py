"""Stateless random numbers: each is a function of (seed, epoch or step, image or process).

They do not depend on the composition of a batch, the number of workers or an interruption. The generator is numpy's
Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). It is counter-based, and numpy guarantees
that its raw stream stays the same between versions, unlike that of `Generator`.

The 128-bit key holds the seed and the epoch (or step). The words of the counter hold, from the lowest: the block within
the stream, the image (or process), and the purpose of the stream (one of the three constants below).
"""

import hashlib
import json

import numpy as np
from jaxtyping import Float64, Int64

_IMAGE, _ORDER, _STEP = range(3)


def image_uniforms(
    seed: int, epoch: int, indices: Int64[np.ndarray, " image"], count: int
) -> Float64[np.ndarray, "image {count}"]:
    """`count` uniform random numbers in [0, 1) for each image in `indices`, for one epoch."""
    stream = _stream(seed, epoch, _IMAGE, 0)
    state = stream.state
    raw = np.empty((len(indices), count), dtype=np.uint64)
    for row, index in zip(raw, indices, strict=True):
        state["state"]["counter"][1] = index
        stream.state = state  # six times faster than creating a generator per image
        row[:] = stream.random_raw(count)
    return (raw >> np.uint64(11)) * 2.0**-53


def epoch_order(seed: int, epoch: int, n: int) -> Int64[np.ndarray, " {n}"]:
    """The random order of the `n` images of an epoch."""
    return np.argsort(_stream(seed, epoch, _ORDER, 0).random_raw(n), kind="stable")


def step_seed(seed: int, step: int, process: int) -> int:
    """A seed below 2**63 for the random numbers of a batch: mixing, dropout, stochastic depth."""
    return int(_stream(seed, step, _STEP, process).random_raw()) >> 1


def named_generator(*words: str | int) -> np.random.Generator:
    """A generator of random numbers that is a function of `words`, such as the name of an image.

    Its distributions may differ between versions of numpy.
    """
    digest = hashlib.blake2b(json.dumps(words).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype="<u8")))


def _stream(seed: int, epoch_or_step: int, purpose: int, image_or_process: int) -> np.random.Philox:
    return np.random.Philox(
        key=np.array([seed, epoch_or_step], dtype=np.uint64),
        counter=np.array([0, image_or_process, purpose, 0], dtype=np.uint64),
    )
