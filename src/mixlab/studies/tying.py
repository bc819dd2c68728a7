"""Does a Mixer gain from untied weights: token MLPs of each channel, or channel MLPs of each place?

The token MLP is shared by all channels, by groups of channels, or by none; the channel MLP is shared by all places or
by none. Untied arms are trained as they are, with the hidden widths of the Mixer and many times its parameters, and at
matched parameters, with narrower hidden layers of the untied MLPs. All arms have the recipe of the Mixer, and the same
images and steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.report.axes import Axis
from mixlab.report.grouped_plot import grouped_plot
from mixlab.studies.arm_costs import costs_table
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult, Quantity
from mixlab.studies.from_scratch import from_scratch
from mixlab.studies.result import Claim
from mixlab.zoo.architecture import Architecture, architecture, family_of

COST = "55 trainings of 25 epochs on 10,000 images"

TOKEN_WEIGHTS = {"shared": "shared", "in groups": "grouped", "per channel": "per-channel"}
CHANNEL_WEIGHTS = {"shared": "shared", "per place": "per-patch"}
"""The values of the fields of `variant:untied_mixer`, by the names of this study."""

MATCHED_WITHIN = 0.01
"""The relative difference of the parameters of both MLPs up to which widths are chosen by the balance of the MLPs."""

_LARGEST_DIFFERENCE = 0.1


def arm_name(token: str, channel: str, size: str = "") -> str:
    """The arm with these weights; `size` is "" for the hidden widths of the Mixer, or "matched"."""
    return f"token MLP {token}, channel MLP {channel}{', ' if size else ''}{size}"


_MIXER = arm_name("shared", "shared")
_PAPER = "Tolstikhin et al. 2021, appendix A.1"
_REGIME = (
    "the source pre-trains models of various sizes on 300 million images; this study trains a small model from scratch "
    "on few images"
)
_OWN, _NO_SOURCE = "a hypothesis of mixlab, not in the paper", "no source reports it"

CLAIMS = (
    Claim(
        statement="Token MLPs of each channel make no difference to the accuracy.",
        contrast=(arm_name("per channel", "shared"), _MIXER),
        expected="equal",
        margin=1.0,
        source=f"{_PAPER}: untying does not help",
        regime=_REGIME,
    ),
    Claim(
        statement="Token MLPs of groups of channels make no difference to the accuracy.",
        contrast=(arm_name("in groups", "shared"), _MIXER),
        expected="equal",
        margin=1.0,
        source=_OWN,
        regime=_NO_SOURCE,
    ),
    Claim(
        statement="Channel MLPs of each place are less accurate than a shared one.",
        contrast=(arm_name("shared", "per place"), _MIXER),
        expected="lower",
        source=_OWN,
        regime=_NO_SOURCE,
    ),
    Claim(
        statement="At matched parameters, token MLPs of each channel are less accurate than a shared one.",
        contrast=(arm_name("per channel", "shared", "matched"), _MIXER),
        expected="lower",
        source=_OWN,
        regime=_NO_SOURCE,
    ),
    Claim(
        statement="At matched parameters, channel MLPs of each place are less accurate than a shared one.",
        contrast=(arm_name("shared", "per place", "matched"), _MIXER),
        expected="lower",
        source=_OWN,
        regime=_NO_SOURCE,
    ),
)


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    model: str = field(default="mixer_nano", metadata={"help": "A size of Mixer."})
    groups: int = field(default=4, metadata={"help": "Groups of channels with a token MLP each.", "min": 2})
    seeds: int = field(default=5, metadata={"help": "Trainings of each arm.", "min": 2})
    epochs: int = field(default=25, metadata={"help": "Epochs of each training.", "min": 1})
    images: int = field(default=10_000, metadata={"help": "Maximum training images, balanced by class.", "min": 1})
    image_size: int = field(default=32, metadata={"help": "Pixels of a side.", "min": 1})


class Widths(NamedTuple):
    """The hidden widths of both MLPs of a Mixer."""

    token: int
    channel: int


class MlpSizes(NamedTuple):
    """What the parameters of an MLP depend on, besides its hidden width: its copies, and its inputs and outputs."""

    copies: int
    features: int

    def parameters(self, hidden: Any) -> Any:
        """The number of parameters for a hidden width, or for an array of widths."""
        return self.copies * (2 * self.features * hidden + hidden + self.features)


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """The Mixer, and untied arms as they are and matched. Raises UserError if they can't be built or matched."""
    mixer = _mixer(settings)
    configs = {arm_name(*cell): _config(mixer, settings, *cell) for cell in _cells()}
    return {
        name: [
            from_scratch(
                "variant:untied_mixer" if config else settings.model,
                dataset,
                settings,
                seed,
                recipe_of=settings.model,
                config=config,
            )
            for seed in range(settings.seeds)
        ]
        for name, config in configs.items()
    }


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """Effects of untying, costs, and the figure by weights and size."""
    series = {
        f"channel MLP {channel}{', ' if size else ''}{size}": {
            f"token MLP {token}": trained.arm(_arm_or_mixer(token, channel, size)).top1 for token in TOKEN_WEIGHTS
        }
        for size in ("", "matched")
        for channel in CHANNEL_WEIGHTS
    }
    figure = grouped_plot(
        "Accuracy by weights",
        series,
        Axis("Top-1", "%", "higher", digits=1),
        caption="Points are means over seeds, lines 95 % intervals. The Mixer, with both shared, is in two series.",
    )
    return trained.result(
        title="Does a Mixer gain from untied weights?",
        command="mixlab study tying",
        settings=settings,
        claims=CLAIMS,
        quantities=tuple(_effects(trained)),
        own_tables=(costs_table(trained.trainings),),
        own_figures=(figure,),
        notes=(_note_on_matching(trained),),
    )


def matched_widths(wanted: int, token: MlpSizes, channel: MlpSizes, largest: Widths) -> Widths:
    """Hidden widths for about `wanted` parameters of both MLPs, with about the same share for each as at `largest`.

    wanted   the parameters of both MLPs when they are shared, which have the widths `largest`

    Widths are at most twice as large as `largest`. Among those within `MATCHED_WITHIN` of `wanted`, or else those that
    come closest, the parameters of each MLP are nearest to those of the shared one, as ratios.
    """
    of_token = token.parameters(np.arange(1, 2 * largest.token + 1))[:, None]
    of_channel = channel.parameters(np.arange(1, 2 * largest.channel + 1))[None, :]
    error = abs(of_token + of_channel - wanted) / wanted
    shared_token = token._replace(copies=1).parameters(largest.token)
    shared_channel = channel._replace(copies=1).parameters(largest.channel)
    imbalance = abs(np.log(of_token / shared_token)) + abs(np.log(of_channel / shared_channel))
    allowed = error <= max(MATCHED_WITHIN, error.min())
    best = np.unravel_index(np.where(allowed, imbalance, np.inf).argmin(), error.shape)
    return Widths(int(best[0]) + 1, int(best[1]) + 1)


def _cells() -> Iterator[tuple[str, str, str]]:
    """The weights and the size of each arm; the Mixer first, and only once."""
    for size in ("", "matched"):
        for channel in CHANNEL_WEIGHTS:
            for token in TOKEN_WEIGHTS:
                if not (size and token == channel == "shared"):
                    yield token, channel, size


def _arm_or_mixer(token: str, channel: str, size: str) -> str:
    return _MIXER if token == channel == "shared" else arm_name(token, channel, size)


def _mixer(settings: Settings) -> Architecture:
    if family_of(settings.model) != "mixer":
        raise UserError(f"--model {settings.model} is not a Mixer: give a size of Mixer, such as mixer_nano.")
    return architecture(settings.model, image_size=settings.image_size)


def _config(mixer: Architecture, settings: Settings, token: str, channel: str, size: str) -> dict[str, Any]:
    """The fields of the variant's config. None of them for the Mixer itself, whose trainings other studies share."""
    if token == channel == "shared":
        return {}
    config = {
        name: value for name, value in mixer.config.items() if name not in ("image_size", "classes", "stochastic_depth")
    }
    config |= {"token_weights": TOKEN_WEIGHTS[token], "channel_weights": CHANNEL_WEIGHTS[channel]}
    config |= {"token_groups": settings.groups}
    if size:
        token_hidden, channel_hidden = _matched(mixer, settings, token, channel)
        config |= {"token_hidden": token_hidden, "channel_hidden": channel_hidden}
    return config


def _matched(mixer: Architecture, settings: Settings, token: str, channel: str) -> Widths:
    config = mixer.config
    channels, patches = config["channels"], (settings.image_size // config["patch_size"]) ** 2
    copies = {"shared": 1, "in groups": settings.groups, "per channel": channels, "per place": patches}
    of_token, of_channel = MlpSizes(copies[token], patches), MlpSizes(copies[channel], channels)
    shared = Widths(config["token_hidden"], config["channel_hidden"])
    wanted = MlpSizes(1, patches).parameters(shared.token) + MlpSizes(1, channels).parameters(shared.channel)
    found = matched_widths(wanted, of_token, of_channel, shared)
    parameters = of_token.parameters(found.token) + of_channel.parameters(found.channel)
    if abs(parameters - wanted) > _LARGEST_DIFFERENCE * wanted:
        raise UserError(
            f"With a token MLP {token} and a channel MLP {channel}, a block of {settings.model} at --image-size "
            f"{settings.image_size} has at least {parameters:,} parameters in its MLPs, but {wanted:,} if they are "
            "shared: there is no match. Give a Mixer with wider hidden layers, or another image size."
        )
    return found


def _effects(trained: TrainedArms) -> Iterator[Quantity]:
    """The main effects of untying as it is, each as a mean over the weights of the other MLP, and an interaction."""
    scores = {
        (token, channel): np.array(trained.arm(arm_name(token, channel)).scores)
        for token in TOKEN_WEIGHTS
        for channel in CHANNEL_WEIGHTS
    }
    for token in ("in groups", "per channel"):
        gains = [scores[token, channel] - scores["shared", channel] for channel in CHANNEL_WEIGHTS]
        yield _effect(f"main effect of token MLPs {token}", sum(gains) / len(gains))
    gains = [scores[token, "per place"] - scores[token, "shared"] for token in TOKEN_WEIGHTS]
    yield _effect("main effect of channel MLPs per place", sum(gains) / len(gains))
    yield _effect("interaction of token MLPs per channel and channel MLPs per place", gains[-1] - gains[0])


def _effect(name: str, values: Any) -> Quantity:
    return Quantity(name, tuple(np.round(values, 9).tolist()), least=-200, most=200)


def _note_on_matching(trained: TrainedArms) -> str:
    parameters = {name: of_arm[0].job.architecture.parameters for name, of_arm in trained.trainings.items()}
    differences = [abs(count / parameters[_MIXER] - 1) for name, count in parameters.items() if "matched" in name]
    return (
        f"Matched arms have the parameters of the Mixer within {100 * max(differences):.1f} %, by narrower hidden "
        "layers of untied MLPs, which therefore also have fewer multiply-accumulates."
    )
