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
from mixlab.data.dataset import Dataset, Split
from mixlab.data.sources import open_dataset
from mixlab.report.axes import Axis
from mixlab.report.grouped_plot import grouped_plot
from mixlab.report.progress import Log
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.studies.arms import Arms, TrainedArms, plan_arms
from mixlab.studies.arms_result import Arm, ArmsResult, Quantity
from mixlab.studies.result import Claim
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe

COST = "33 trainings of about 650 steps"

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

_UNSEEN, _PLAIN, _SVM = "unseen speakers", "without augmentation", "support vector machine"
_SOURCE = "a hypothesis of mixlab; no source reports it"
_REGIME = "models of 6 to 12 million multiply-accumulates, 3,000 recordings"


def arm_name(model: str, condition: str = _UNSEEN) -> str:
    return f"{model}, {condition}"


def gap_name(model: str) -> str:
    """The quantity: accuracy in the official split minus accuracy on each speaker."""
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
        (arm_name("mixer_nano"), arm_name(_SVM)),
        "higher",
        0.0,
    ),
    (
        "SpecAugment and shifts in time make a Mixer more accurate on unseen speakers.",
        (arm_name("mixer_nano"), arm_name("mixer_nano", f"{_UNSEEN}, {_PLAIN}")),
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

    folder: str = field(default="", metadata={"help": "Folder of the dataset. Default: the data folders are searched."})
    seeds: int = field(default=3, metadata={"help": "Trainings of each model in the official split.", "min": 2})
    epochs: int = field(default=8, metadata={"help": "Epochs of each training.", "min": 1})
    batch: int = field(default=32, metadata={"help": "Sounds per step.", "min": 2})


def run(settings: Settings, *, quiet: bool, log: Log) -> ArmsResult:
    """Train in the official split and with each speaker left out. Raises UserError if the dataset is not there."""
    data = ":".join(["spoken-digits", *([settings.folder] if settings.folder else [])])
    official = _train(data, _official_arms(settings), quiet=quiet, log=log)
    folds = [
        _train(f"{data}:test=_{speaker}_", _fold_arms(settings, seed), quiet=quiet, log=log)
        for seed, speaker in enumerate(SPEAKERS)
    ]
    return conclude(official, folds, settings)


def conclude(official: TrainedArms, folds: list[TrainedArms], settings: Settings) -> ArmsResult:
    """The arms of the official split and of the folds, the gaps between them, and the baseline."""
    known = [official.arm(name) for name in official.runs]
    unseen = [_over_folds([fold.arm(name) for fold in folds]) for name in folds[0].runs]
    svm = [svm_accuracy(fold.dataset) for fold in folds]
    arms = (*known, *unseen, Arm(arm_name(_SVM), tuple(svm), mean_interval(svm, "%", least=0, most=100)))
    of_name = {arm.name: arm for arm in arms}
    gaps = [
        Quantity(gap_name(model), _gaps(of_name[arm_name(model, "official split")], of_name[arm_name(model)]))
        for model in MODELS
    ]
    sounds = len(official.dataset.splits["test"])
    svm_of_official = svm_accuracy(official.dataset)
    baseline = f"In the official split, the {_SVM} has {svm_of_official:.1f} % of {sounds} sounds."
    speakers = f"The repetitions on {_UNSEEN} are the speakers {', '.join(SPEAKERS)}, with seeds 0 to 5."
    svm_top1 = {"official split": Estimate(svm_of_official, low=None, high=None, n=1, unit="%")}
    svm_top1[_UNSEEN] = of_name[arm_name(_SVM)].top1
    figure = grouped_plot(
        "Accuracy by split",
        {
            split: {model: of_name[arm_name(model, split)].top1 for model in MODELS} | {_SVM: of_split}
            for split, of_split in svm_top1.items()
        },
        Axis("Top-1", "%", "higher", digits=1),
        caption="Points are means over seeds, or over speakers; lines are 95 % intervals.",
    )
    result = official.result(
        title="Do models of spectrograms recognise spoken digits, also of unseen speakers?",
        command="mixlab study spoken-digits",
        settings=settings,
        claims=CLAIMS,
        arms=arms,
        quantities=tuple(gaps),
        repeats="repetitions",
        top1_interval="repetitions",
        own_figures=(figure,),
        notes=(speakers, baseline),
        training_seconds=tuple(each for trained in (official, *folds) for each in trained.training_seconds),
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


def _official_arms(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    return {
        arm_name(model, "official split"): [_recipe(model, settings, seed) for seed in range(settings.seeds)]
        for model in MODELS
    }


def _fold_arms(settings: Settings, seed: int) -> dict[str, list[dict[str, Any]]]:
    plain = _recipe("mixer_nano", settings, seed) | {"augmentation": {}}
    return {arm_name(model): [_recipe(model, settings, seed)] for model in MODELS} | {
        arm_name("mixer_nano", f"{_UNSEEN}, {_PLAIN}"): [plain]
    }


def _recipe(model: str, settings: Settings, seed: int) -> dict[str, Any]:
    """The default recipe for sounds, on training and validation sounds together."""
    _, fields = default_recipe(model, "spoken-digits")
    fields.pop("expected", None)
    return fields | {
        "seed": seed,
        "epochs": settings.epochs,
        "batch": settings.batch,
        "validation": "merged",
        "config": fields.get("config", {}) | MODELS[model],
        "preprocessing": {"spectrogram": SPECTROGRAM.to_dict()},
    }


def _train(data: str, arms: Mapping[str, list[dict[str, Any]]], *, quiet: bool, log: Log) -> TrainedArms:
    dataset = open_dataset(data, quiet=quiet)
    recipes: Arms = {
        name: [parse_training_recipe(one | {"data": dataset.name}, name) for one in of_arm]
        for name, of_arm in arms.items()
    }
    return plan_arms(recipes, dataset, log).train(log=log, quiet=quiet)


def _over_folds(arms: list[Arm]) -> Arm:
    """An arm that was trained once in each fold."""
    scores = [score for arm in arms for score in arm.scores]
    seconds = [value for arm in arms for value in arm.details["training_seconds"]]
    top1 = mean_interval(scores, "%", least=0, most=100)
    return replace(arms[0], scores=tuple(scores), top1=top1, details={**arms[0].details, "training_seconds": seconds})


def _gaps(known: Arm, unseen: Arm) -> tuple[float, ...]:
    return tuple(round(known.top1.value - score, 9) for score in unseen.scores)
