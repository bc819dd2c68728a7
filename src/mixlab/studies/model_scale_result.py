"""The result of the study of model scale: growths, frontiers, claims, table and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from mixlab.report.axes import Axis
from mixlab.report.figure import Figure, Panel
from mixlab.report.lines import FRONTIER, LineLegend, line_panel
from mixlab.report.table import Column
from mixlab.stats.estimate import Estimate
from mixlab.stats.frontier import frontier
from mixlab.studies.arms import TrainedArms
from mixlab.studies.arms_result import Arm, ArmsResult, Quantity
from mixlab.studies.result import Claim
from mixlab.studies.roles import first_of_each_role
from mixlab.zoo.architecture import Architecture

Series = Literal["width", "depth"]
SERIES: tuple[Series, ...] = ("width", "depth")

GROWTH_UNIT = "points per doubling of the cost"

_PAPER = "Tolstikhin et al. 2021, section 3.2"
_SCRATCH = "Tolstikhin et al. 2021, section 3.2: Mixer-L/16 below Mixer-B/16 from scratch on ImageNet"
_REGIME = (
    "the source pre-trains Mixers, ViTs and BiT-ResNets on 300 million images and fine-tunes them on ImageNet; this "
    "study trains small models from scratch on few images"
)
_SCRATCH_REGIME = "the source trains models of 59 and 207 million parameters on 1.3 million images for 300 epochs"


@dataclass(frozen=True)
class Member:
    """A model of a series.

    series  None for the model as given, which all series share
    factor  of its width or depth, relative to the model as given
    config  the fields that differ from it
    """

    model: str
    series: Series | None
    factor: float
    config: Mapping[str, Any] = field(hash=False)

    @property
    def arm(self) -> str:
        return self.model if self.series is None else f"{self.model}, {self.series} {self.factor:g}"


@dataclass(frozen=True)
class Scaled:
    """The trainings of a member.

    seen        images that each training sees
    throughput  images per second in inference
    """

    member: Member
    arm: Arm
    architecture: Architecture
    seen: int
    throughput: Estimate

    @property
    def cost(self) -> int:
        """Multiply-accumulates of the forward passes of a training."""
        return self.architecture.macs * self.seen


def growth_name(model: str) -> str:
    """The growth of a model in the series of widths."""
    return f"growth of {model} with its width"


def claims(found: Mapping[str, Scaled], models: Sequence[str]) -> tuple[Claim, ...]:
    """The claims about the first Mixer, ResNet and ViT that have several widths."""
    roles = first_of_each_role([model for model in models if len(_series(found, model, "width")) > 1])
    if "mixer" not in roles:
        return ()
    mixer = roles["mixer"]
    growths = [
        Claim(
            statement=f"A doubling of the training cost by width improves {mixer} more than {other}.",
            contrast=(growth_name(mixer), growth_name(other)),
            expected="higher",
            source=_PAPER,
            regime=_REGIME,
            unit=GROWTH_UNIT,
        )
        for other in (roles[role] for role in ("resnet", "vit") if role in roles)
    ]
    widest = _series(found, mixer, "width")[-1]
    if widest.member.series is None:
        return tuple(growths)
    overfits = Claim(
        statement=f"From scratch, {widest.member.arm} is less accurate than {mixer}.",
        contrast=(widest.member.arm, mixer),
        expected="lower",
        source=_SCRATCH,
        regime=_SCRATCH_REGIME,
    )
    return (*growths, overfits)


def make_result(trained: TrainedArms, settings: Any, found: Mapping[str, Scaled]) -> ArmsResult:
    """The result for the trainings of each member."""
    cheapest = frontier({name: (one.cost, one.arm.top1.value) for name, one in found.items()})
    fastest = frontier({name: (-one.throughput.value, one.arm.top1.value) for name, one in found.items()})
    asked = {f"{series} {float(factor):g}" for series in SERIES for factor in getattr(settings, f"{series}s")}
    absent = [
        f"{model}, {scale}"
        for model in settings.models
        for scale in sorted(asked)
        if not scale.endswith(" 1") and f"{model}, {scale}" not in found
    ]
    notes = [
        "Training cost: multiply-accumulates of the forward passes of all images of a training, in 10⁹. A step also "
        "has a backward pass, which costs about twice as much.",
        f"Throughput: inference on batches of {settings.batch} images in the fastest compute mode of each model, all "
        "models in turn; ± is over rounds.",
        "Frontier: by mean accuracy, no other arm is at least as accurate at no higher cost, or no lower throughput.",
    ]
    if absent:
        notes.append(f"Left out, because rounded they are equal to another arm: {'; '.join(absent)}.")
    return trained.result(
        title="Which models use a larger budget best, by width and by depth?",
        command="mixlab study model-scale",
        settings=settings,
        claims=claims(found, settings.models),
        arms=tuple(_arm(one, [name in cheapest, name in fastest]) for name, one in found.items()),
        columns=(
            Column("parameters", "parameters", "k", digits=0),
            Column("macs", "MACs", "M", digits=1),
            Column("cost", "training cost", "G", digits=1),
            Column("throughput", "throughput", "images/s", digits=0),
            Column("frontier", "on the frontier of"),
        ),
        quantities=_growths(settings.models, found),
        own_figures=tuple(figure for series in SERIES for figure in _figures(series, settings, found)),
        notes=tuple(notes),
    )


def _arm(one: Scaled, on_frontiers: Sequence[bool]) -> Arm:
    of = [name for name, on in zip(("cost", "throughput"), on_frontiers, strict=True) if on]
    built = one.architecture
    columns = {
        "parameters": built.parameters / 1e3,
        "macs": built.macs / 1e6,
        "cost": one.cost / 1e9,
        "throughput": one.throughput,
        "frontier": " and ".join(of) or None,
    }
    details = {
        "parameters": built.parameters,
        "images_seen": one.seen,
        "training_macs": one.cost,
        "images_per_second": one.throughput.value,
        "frontiers": of,
    }
    return replace(one.arm, columns=columns, details={**one.arm.details, **details})


def _growths(models: Sequence[str], found: Mapping[str, Scaled]) -> tuple[Quantity, ...]:
    """The growth of every model with several widths: the least-squares slope of top-1 over log2(cost), in points."""
    quantities = []
    for model in models:
        series = _series(found, model, "width")
        if len(series) > 1:
            costs = np.log2([one.cost for one in series])
            slopes = np.polyfit(costs, np.array([one.arm.scores for one in series]), 1)[0]
            quantities.append(Quantity(growth_name(model), tuple(slopes.round(9).tolist()), GROWTH_UNIT))
    return tuple(quantities)


def _series(found: Mapping[str, Scaled], model: str, series: Series) -> list[Scaled]:
    """The members of a series of a model, with increasing factors."""
    own = [one for one in found.values() if one.member.model == model and one.member.series in (None, series)]
    return sorted(own, key=lambda one: one.member.factor)


def _figures(series: Series, settings: Any, found: Mapping[str, Scaled]) -> list[Figure]:
    """The figure of a series against both costs; none if no model has several members."""
    lines = {model: _series(found, model, series) for model in settings.models}
    if all(len(line) == 1 for line in lines.values()):
        return []
    members = {one.member.arm: one for line in lines.values() for one in line}
    cheapest = frontier({name: (one.cost, one.arm.top1.value) for name, one in members.items()})
    fastest = frontier({name: (-one.throughput.value, one.arm.top1.value) for name, one in members.items()})
    cost, speed = Axis("training cost, MACs", scale="log"), Axis("throughput", "images/s", scale="log")
    panels = [
        _panel(lines, {name: one.cost for name, one in members.items()}, cost, cheapest, settings.models),
        _panel(lines, {name: one.throughput.value for name, one in members.items()}, speed, fastest, settings.models),
    ]
    caption = (
        f"Each line is a model in several {series}s. Points are means over seeds, vertical lines 95 % intervals. No "
        "model of the figure beats those on the frontier in both quantities."
    )
    legend = LineLegend([*lines, FRONTIER], settings.models)
    return [Figure(f"Accuracy by {series}, against cost and speed", panels, caption, legend)]


def _panel(
    lines: Mapping[str, Sequence[Scaled]],
    across: Mapping[str, float],
    x: Axis,
    best: Sequence[str],
    models: Sequence[str],
) -> Panel:
    """A panel of top-1 against `across`, which has a value for each member.

    best  the members on the frontier
    """
    top1 = {one.member.arm: one.arm.top1 for line in lines.values() for one in line}
    points = {model: [(across[one.member.arm], one.arm.top1) for one in line] for model, line in lines.items()}
    return line_panel(
        points, x, Axis("top-1", "%"), names=models, frontier=[(across[name], top1[name].value) for name in best]
    )
