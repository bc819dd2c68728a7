"""Does a DaViT need both of its attentions, windows and channels, and in this order?

Each pair of blocks has window or channel attention in its first and in its second block: four arms, of which
window-channel is DaViT. Attention modules are replaced, not removed, so that all arms have the same parameters. Heads
and groups are as many channels wide as a window has patches, so that they also have the same multiply-accumulates.
In every stage there are at least 2 x 2 windows, as otherwise window attention is global. All arms have the same images
and steps, and with the same seed the same initial weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.studies.arm_costs import costs_table
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.from_scratch import from_scratch
from mixlab.studies.result import Claim
from mixlab.zoo.architecture import architecture, family_of

COST = "20 trainings of 25 epochs on 10,000 images"

_STEM_STRIDE = 4  # pixels of a side of a patch of the first stage
_MERGE_STRIDE = 2  # patches of a side that are merged before each other stage

ARM_NAMES = {
    "window-channel": "both, window first",
    "channel-window": "both, channel first",
    "window-window": "window only",
    "channel-channel": "channel only",
}
"""The arm of each pair of attentions of `variant:ablated_davit`."""

_BOTH, _REVERSED, _WINDOW, _CHANNEL = ARM_NAMES.values()

_PAPER = "Ding et al. 2022, abstract"
_REGIME = (
    "the source trains models of 28 to 88 million parameters for 300 epochs on ImageNet-1k, and has this statement "
    "without a number; this study trains a small model from scratch on few images"
)

CLAIMS = (
    Claim(
        statement="Window and channel attention are more accurate than window attention only.",
        contrast=(_BOTH, _WINDOW),
        expected="higher",
        source=f"{_PAPER}: the two attentions complement each other",
        regime=_REGIME,
    ),
    Claim(
        statement="Window and channel attention are more accurate than channel attention only.",
        contrast=(_BOTH, _CHANNEL),
        expected="higher",
        source=f"{_PAPER}: the two attentions complement each other",
        regime=_REGIME,
    ),
    Claim(
        statement="The attentions complement each other: what channel attention in the second block adds is more if "
        "the first has window attention than if it has channel attention.",
        contrast=(_BOTH, _WINDOW, _CHANNEL, _REVERSED),
        expected="higher",
        source=f"{_PAPER}: the two attentions complement each other",
        regime=_REGIME,
    ),
    Claim(
        statement="The order of the attentions makes no difference.",
        contrast=(_REVERSED, _BOTH),
        expected="equal",
        margin=1.0,
        source="a hypothesis of mixlab, not in the paper's abstract",
        regime="the authors' code has windows first",
    ),
)


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    model: str = field(default="davit_nano", metadata={"help": "A size of DaViT."})
    seeds: int = field(default=5, metadata={"help": "Trainings of each arm.", "min": 2})
    epochs: int = field(default=25, metadata={"help": "Epochs of each training.", "min": 1})
    images: int = field(default=10_000, metadata={"help": "Maximum training images, balanced by class.", "min": 1})
    image_size: int = field(default=64, metadata={"help": "Pixels of a side.", "min": 1})
    window: int = field(default=4, metadata={"help": "Patches of a side of a window.", "min": 2})


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """An arm for each pair of attentions. Raises UserError if the model or its windows do not fit."""
    config = _matched_config(settings)
    return {
        name: [
            from_scratch(
                "variant:ablated_davit",
                dataset,
                settings,
                seed,
                recipe_of=settings.model,
                config=config | {"attention": pair},
            )
            for seed in range(settings.seeds)
        ]
        for pair, name in ARM_NAMES.items()
    }


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """Differences between the arms, and their costs."""
    sides = _grid_sides(settings, len(architecture(settings.model).config["channels"]))
    windows = ", ".join(f"{side // settings.window} x {side // settings.window}" for side in sides)
    return trained.result(
        title="Does a DaViT need both of its attentions, and in this order?",
        command="mixlab study dual-attention",
        settings=settings,
        claims=CLAIMS,
        own_tables=(costs_table(trained.trainings),),
        pairs=((_BOTH, _WINDOW), (_BOTH, _CHANNEL), (_BOTH, _REVERSED), (_WINDOW, _CHANNEL)),
        notes=(
            f"Windows of {settings.window} x {settings.window} patches, by stage: {windows}. Heads and groups have "
            f"{settings.window**2} channels.",
            "The positional encodings of all arms, depthwise 3x3 convolutions, also mix neighbouring patches.",
        ),
    )


def _matched_config(settings: Settings) -> dict[str, Any]:
    """The config of the model with these windows, and heads of as many channels as a window has patches."""
    if family_of(settings.model) != "davit":
        raise UserError(f"--model {settings.model} is not a DaViT: give a size of DaViT, such as davit_nano.")
    config = dict(architecture(settings.model).config)
    width = settings.window**2
    if any(channels % width for channels in config["channels"]):
        raise UserError(
            f"{settings.model} has stages of {_listed(config['channels'])} channels, which are not multiples of the "
            f"{width} patches of a window of --window {settings.window}: heads of this width match the "
            "multiply-accumulates of both attentions. Give --window 2 or 4."
        )
    _require_windows(settings, len(config["channels"]))
    for name in ("image_size", "classes", "stochastic_depth"):  # from the recipe and the dataset
        del config[name]
    return config | {"window": settings.window, "heads": [channels // width for channels in config["channels"]]}


def _require_windows(settings: Settings, stages: int) -> None:
    """Raises UserError unless every stage has whole windows, 2 x 2 of them or more."""
    unit = _STEM_STRIDE * _MERGE_STRIDE ** (stages - 1) * settings.window  # pixels of a window of the last stage
    if settings.image_size < 2 * unit:
        raise UserError(
            f"At --image-size {settings.image_size}, {settings.model} has fewer than 2 x 2 windows of --window "
            f"{settings.window} in its last stage, so that window attention is global: give --image-size {2 * unit}"
            f"{' or --window 2' if settings.window > 2 else ''}."
        )
    if settings.image_size % unit:
        below = settings.image_size // unit * unit
        raise UserError(
            f"--image-size {settings.image_size} is not a multiple of {unit}, the pixels of a window in the last stage "
            f"of {settings.model}: padded windows have additional multiply-accumulates. Give --image-size {below} or "
            f"{below + unit}."
        )


def _grid_sides(settings: Settings, stages: int) -> list[int]:
    """The patches of a side of each stage."""
    return [settings.image_size // (_STEM_STRIDE * _MERGE_STRIDE**stage) for stage in range(stages)]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
