"""Small generated sounds, tones with one pitch for each class, and a model of sounds with random weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from jaxtyping import Float32

from mixlab.data.audio.spectrogram import Spectrogram
from mixlab.data.preprocess import Preprocess
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import architecture

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


SPECTROGRAM = Spectrogram(sample_rate=8_000, window=256, hop=125, mels=32, seconds=0.5)


def write_sound_model(folder: Path) -> Path:
    """A Mixer of sounds with random weights, also of the head."""
    sizes = {"patch_size": 8, "channels": 16, "token_hidden": 8, "channel_hidden": 32, "depth": 1}
    found = architecture("mixer_nano", image_size=SPECTROGRAM.image_size, classes=2, **sizes)
    model = found.build()
    for parameter in model.get_submodule("head").parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    weights = Weights(found.family, dict(found.config), model.state_dict())
    folder.mkdir(parents=True)
    preprocess = Preprocess(SPECTROGRAM.image_size, spectrogram=SPECTROGRAM)
    write_model_folder(folder, weights, ("high", "low"), preprocess, found.name)
    return folder
