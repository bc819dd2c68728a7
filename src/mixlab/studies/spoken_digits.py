"""Do models of spectrograms recognise spoken digits, also of speakers that they were not trained on?

The data are the Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers. In the official split, test
has other recordings of the speakers in train. In the folds, each speaker is the test split of a training on the others.
The baseline is a support vector machine on the log-mel spectrogram, averaged over eight parts of the time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from mixlab.data.audio.spectrogram import Spectrogram
from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.dataset import Dataset, Split
from mixlab.errors import UserError
from mixlab.report.axes import Axis
from mixlab.report.grouped_plot import grouped_plot
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import Arm, ArmsResult, Quantity
from mixlab.studies.result import Claim
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Recipe

COST = "42 trainings of about 650 steps"

DATA = "spoken-digits"
"""The default of --data."""

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
SPECTROGRAM = Spectrogram(sample_rate=8_000, window=256, hop=200, mels=48, seconds=0.8)
"""8 kHz is the rate of the recordings."""

MODELS: Mapping[str, Mapping[str, Any]] = {
    "mixer_nano": {},
    "convmixer_nano": {},
    "resnet_nano": {"channels": [16, 16, 32, 64]},
}
"""The models, and what makes the residual network cheaper: it has no patches."""

PARTS = 8
"""Of the time, over which the baseline averages."""

OFFICIAL, UNSEEN, SVM = "official split", "unseen speakers", "support vector machine"
PLAIN = f"{UNSEEN}, without augmentation"
_SOURCE = "a hypothesis of mixlab; no source reports it"
_REGIME = "models of 6 to 12 million multiply-accumulates, 3,000 recordings"


def arm_name(model: str, condition: str = UNSEEN) -> str:
    return f"{model}, {condition}"


def gap_name(model: str) -> str:
    """The quantity: accuracy in the official split minus accuracy on a speaker, with the same seed."""
    return f"gap of {model}"


_CLAIMS: tuple[tuple[str, tuple[str, ...], Literal["higher", "lower", "equal"], float], ...] = (
    ("A Mixer is less accurate on speakers that it was not trained on.", (gap_name("mixer_nano"),), "higher", 0.0),
    (
        "A ConvMixer is more accurate on unseen speakers than a Mixer.",
        (arm_name("convmixer_nano"), arm_name("mixer_nano")),
        "higher",
        0.0,
    ),
    (
        "A ConvMixer and a small residual network are equally accurate on unseen speakers.",
        (arm_name("convmixer_nano"), arm_name("resnet_nano")),
        "equal",
        3.0,
    ),
    (
        "A Mixer is more accurate on unseen speakers than a support vector machine.",
        (arm_name("mixer_nano"), arm_name(SVM)),
        "higher",
        0.0,
    ),
    (
        "SpecAugment and shifts in time make a Mixer more accurate on unseen speakers.",
        (arm_name("mixer_nano"), arm_name("mixer_nano", PLAIN)),
        "higher",
        0.0,
    ),
)

CLAIMS = tuple(
    Claim(statement=statement, contrast=contrast, expected=expected, margin=margin, source=_SOURCE, regime=_REGIME)
    for statement, contrast, expected, margin in _CLAIMS
)


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    epochs: int = field(default=8, metadata={"help": "Epochs of each training.", "min": 1})
    batch: int = field(default=32, metadata={"help": "Sounds per step.", "min": 2})


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """The models in the official split, and with each speaker left out.

    Raises UserError if the data are others, or have another test split.
    """
    if dataset.name.partition(":")[0] != DATA or ":test=" in dataset.name:
        raise UserError(
            f"mixlab study {DATA} needs the Free Spoken Digit Dataset with its official split, not {dataset.name}: "
            f"give --data {DATA} or --data {DATA}:PATH."
        )
    found = {
        arm_name(model, OFFICIAL): [_recipe(model, dataset.name, settings, seed) for seed in range(len(SPEAKERS))]
        for model in MODELS
    }
    folds = [f"{dataset.name}:test=_{speaker}_" for speaker in SPEAKERS]
    for model in MODELS:
        found[arm_name(model)] = [_recipe(model, data, settings, seed) for seed, data in enumerate(folds)]
    found[arm_name("mixer_nano", PLAIN)] = [
        recipe.model_copy(update={"augmentation": Augmentation()}) for recipe in found[arm_name("mixer_nano")]
    ]
    return found


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """The arms of the official split and of the folds, the gaps between them, and the baseline."""
    folds = [trained.data(arm_name("mixer_nano"), fold) for fold in range(len(SPEAKERS))]
    svm = tuple(map(svm_accuracy, folds))
    svm_top1 = mean_interval(svm, "%", least=0, most=100)
    of_name = {name: trained.arm(name) for name in trained.runs}
    of_name[arm_name(SVM)] = Arm(arm_name(SVM), svm, svm_top1)
    gaps = [
        Quantity(gap_name(model), _gaps(of_name[arm_name(model, OFFICIAL)], of_name[arm_name(model)]))
        for model in MODELS
    ]
    svm_of_official = svm_accuracy(trained.dataset)
    of_split = {OFFICIAL: Estimate(svm_of_official, low=None, high=None, n=1, unit="%"), UNSEEN: svm_top1}
    figure = grouped_plot(
        "Accuracy by split",
        {
            split: {model: of_name[arm_name(model, split)].top1 for model in MODELS} | {SVM: of_svm}
            for split, of_svm in of_split.items()
        },
        Axis("Top-1", "%", "higher", digits=1),
        caption="Points are means over seeds, or over speakers; lines are 95 % intervals.",
    )
    speakers = (
        f"The repetitions on {UNSEEN} are the speakers {', '.join(SPEAKERS)}, with seeds 0 to 5: the test sounds of "
        "each are those of its speaker."
    )
    sounds = len(trained.dataset.splits["test"])
    result = trained.result(
        title="Do models of spectrograms recognise spoken digits, also of unseen speakers?",
        command="mixlab study spoken-digits",
        settings=settings,
        claims=CLAIMS,
        arms=tuple(of_name.values()),
        quantities=tuple(gaps),
        repeats="repetitions",
        top1_interval="repetitions",
        own_figures=(figure,),
        notes=(speakers, f"In the official split, the {SVM} has {svm_of_official:.1f} % of {sounds} sounds."),
    )
    return replace(result, protocol=f"{result.protocol} {speakers}")


def svm_accuracy(dataset: Dataset) -> float:
    """Top-1 in per cent of the baseline on the test split, after a fit to all other sounds."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    train, test = dataset.merge_validation().splits["train"], dataset.splits["test"]
    classifier = make_pipeline(StandardScaler(), SVC(C=10))
    classifier.fit(_features(train), train.labels)
    return 100 * float((classifier.predict(_features(test)) == test.labels).mean())


def _features(split: Split) -> Float64[np.ndarray, "sound feature"]:
    """The log-mel spectrogram, averaged over `PARTS` parts of the time."""
    images = np.stack([split.image(index, SPECTROGRAM)[:, :, 0] for index in range(len(split))]).astype(np.float64)
    return images.reshape(len(images), SPECTROGRAM.mels, PARTS, -1).mean(axis=3).reshape(len(images), -1)


def _recipe(model: str, data: str, settings: Settings, seed: int) -> Recipe:
    """The default recipe for sounds, on training and validation sounds together."""
    name, fields = default_recipe(model, data)
    fields.pop("expected", None)
    fields |= {
        "seed": seed,
        "epochs": settings.epochs,
        "batch": settings.batch,
        "validation": "merged",
        "config": fields.get("config", {}) | MODELS[model],
        "preprocessing": {"spectrogram": SPECTROGRAM.to_dict()},
    }
    return parse_training_recipe(fields, name)


def _gaps(known: Arm, unseen: Arm) -> tuple[float, ...]:
    return tuple(round(a - b, 9) for a, b in zip(known.scores, unseen.scores, strict=True))
