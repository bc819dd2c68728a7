"""Small generated sounds: tones with one pitch for each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

RATE = 16_000


def tone(hz: float, seconds: float = 1.0, rate: int = RATE, volume: float = 0.5) -> Float32[np.ndarray, " sample"]:
    """A sine."""
    return (volume * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_sound(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def write_tones(root: Path, pitches: Sequence[tuple[str, float]], count: int, seconds: float = 0.3) -> Path:
    """`count` tones in a folder for each class, which differ a little."""
    rng = np.random.default_rng(0)
    for label, hz in pitches:
        for number in range(count):
            samples = tone(hz * rng.uniform(0.9, 1.1), seconds) + 0.01 * rng.standard_normal(round(seconds * RATE))
            write_sound(root / label / f"{number:02d}.wav", samples.astype(np.float32))
    return root
