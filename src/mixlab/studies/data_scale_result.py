"""The result of the study of data scale: growths, train-test gaps, claims, table and figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.lines import SIDE_BY_SIDE, LineLegend, line_panel
from mixlab.report.table import Column
from mixlab.report.text import number_range, pluralize
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.studies.arms import TrainedArms
from mixlab.studies.arms_result import Arm, ArmsResult, Quantity
from mixlab.studies.result import Claim
from mixlab.studies.roles import first_of_each_role
from mixlab.studies.transfer import ClassSplit

GROWTH_UNIT = "points per tenfold data"

_PAPER = "Tolstikhin et al. 2021, section 3.3"
_REGIME = (
    "the source pre-trains Mixer-B/32 to L/16, ViT and BiT-ResNet152x2 on 9 to 300 million images and reports the "
    "linear 5-shot accuracy on ImageNet; this study trains small models on few images"
)


@dataclass(frozen=True)
class Cell:
    """One way to pre-train: a model in one size, with one regularisation."""

    model: str
    size: str
    regularisation: str

    @property
    def name(self) -> str:
        return f"{self.model}, {self.size}, regularisation {self.regularisation}"

    def arm(self, share: float) -> str:
        """The arm of this cell on `share` per cent of the images."""
        return f"{self.name}, {share:g} %"


@dataclass(frozen=True)
class Trained:
    """The trainings of an arm.

    cell             how it was pre-trained
    images           training images of each repetition
    few_shot         top-1 on new classes in per cent, for each repetition
    train, test      top-1 on the known classes in per cent, for each repetition
    """

    cell: Cell
    images: tuple[int, ...]
    few_shot: tuple[float, ...]
    train: tuple[float, ...]
    test: tuple[float, ...]

    @property
    def gap(self) -> tuple[float, ...]:
        """Training minus test accuracy on the known classes, in points, for each repetition."""
        return tuple(train - test for train, test in zip(self.train, self.test, strict=True))


def growth_name(of: str) -> str:
    """The growth of a model, which is the mean over its sizes and regularisations, or of a cell."""
    return f"growth of {of}"


def gap_name(model: str) -> str:
    """The train-test gap of a model on the smallest subset, the mean over its sizes and regularisations."""
    return f"gap of {model}, fewest images"


def claims(models: Sequence[str]) -> tuple[Claim, ...]:
    """The claims about the first Mixer, ResNet and ViT of `models`. Claims without one of them are left out."""
    roles = first_of_each_role(models)
    if "mixer" not in roles:
        return ()
    mixer = roles["mixer"]
    found = [
        Claim(
            statement=f"The few-shot accuracy of {mixer} grows more with data than that of {other}.",
            contrast=(growth_name(mixer), growth_name(other)),
            expected="higher",
            source=_PAPER,
            regime=_REGIME,
            unit=GROWTH_UNIT,
        )
        for other in (roles[role] for role in ("resnet", "vit") if role in roles)
    ]
    if resnet := roles.get("resnet"):
        found.append(
            Claim(
                statement=f"On the fewest images, {mixer} overfits more than {resnet}.",
                contrast=(gap_name(mixer), gap_name(resnet)),
                expected="higher",
                source=_PAPER,
                regime=_REGIME,
            )
        )
    return tuple(found)


def make_result(
    trained: TrainedArms, settings: Any, found: Mapping[str, Trained], splits: Sequence[ClassSplit]
) -> ArmsResult:
    """The result for the trainings of each arm."""
    steps = number_range(training.steps for of_arm in trained.trainings.values() for training in of_arm)
    images = number_range(number for one in found.values() for number in one.images)
    shots = pluralize(settings.shots, "image")
    return trained.result(
        title="Which models gain the most from more data for pre-training?",
        command="mixlab study data-scale",
        settings=settings,
        claims=claims(settings.models),
        arms=tuple(_arm(trained, name, one) for name, one in found.items()),
        columns=(
            Column("images", "images"),
            Column("macs", "MACs", "M", digits=1),
            Column("train", "train, known classes", "%", digits=1),
            Column("test", "test, known classes", "%", digits=1),
            Column("gap", "train-test gap", "points", digits=1),
        ),
        quantities=quantities_of(settings.models, found),
        repeats="class splits",
        top1_interval="class splits",
        own_figures=_figures(settings, found),
        notes=(
            f"Top-1 is that of a linear classifier on {shots} of each new class, the mean of 3 draws.",
            "The train-test gap is on the known classes, for at most 2,000 training images without augmentation.",
            "The class splits share classes and images, so the intervals hold for other splits of this dataset.",
        ),
        facts={
            f"Split {n}": f"{', '.join(split.known)} → {', '.join(split.new)}"
            for n, split in enumerate(splits, start=1)
        },
        protocol=(
            f"Each of {len(found)} arms was pre-trained on {len(splits)} random halves of the classes of "
            f"{trained.dataset.name}, for {steps} steps of {settings.batch} images, on nested subsets of "
            f"{images} images; repetition i of every arm has the same classes and seed. Of "
            f"{pluralize(settings.epochs, 'validation')} at about the same steps, the weights with the best accuracy "
            "on the validation images of the known classes were selected. Their frozen features were evaluated in fp32 "
            f"on the other classes, with a linear classifier on {shots} of each class."
        ),
    )


def _arm(trained: TrainedArms, name: str, one: Trained) -> Arm:
    training = trained.trainings[name][0]
    values = {"train": (one.train, "%"), "test": (one.test, "%"), "gap": (one.gap, "points")}
    estimates = {key: _interval(numbers, unit) for key, (numbers, unit) in values.items()}
    macs, images = training.job.architecture.macs, round(float(np.mean(one.images)))
    details: dict[str, Any] = {"images": list(one.images), "macs": macs, "steps": training.steps}
    details["training_seconds"] = trained.seconds(name)
    details |= {key: list(numbers) for key, (numbers, _) in values.items()}
    top1 = _interval(one.few_shot, "%")
    return Arm(name, one.few_shot, top1, {"images": images, "macs": macs / 1e6, **estimates}, details)


def _interval(values: Sequence[float], unit: str) -> Estimate:
    """The mean of accuracies in per cent, or of their differences in points, with an interval within their bounds."""
    return mean_interval(values, unit, least=0 if unit == "%" else -100, most=100)


def quantities_of(models: Sequence[str], found: Mapping[str, Trained]) -> tuple[Quantity, ...]:
    """Growths and gaps of every model, with one value for each repetition.

    found  by arm, in the order of the shares
    """
    cells: dict[Cell, list[Trained]] = {}
    for one in found.values():
        cells.setdefault(one.cell, []).append(one)
    growths = {cell: _growth(of_cell) for cell, of_cell in cells.items()}
    quantities = []
    for model in models:
        own = {cell: of_cell for cell, of_cell in cells.items() if cell.model == model}
        mean = np.mean([growths[cell] for cell in own], axis=0)
        quantities.append(Quantity(growth_name(model), _rounded(mean), GROWTH_UNIT))
        if len(own) > 1:
            quantities += [Quantity(growth_name(cell.name), _rounded(growths[cell]), GROWTH_UNIT) for cell in own]
        gaps = np.mean([of_cell[0].gap for of_cell in own.values()], axis=0)
        quantities.append(Quantity(gap_name(model), _rounded(gaps), least=-100, most=100))
    return tuple(quantities)


def _growth(of_cell: Sequence[Trained]) -> list[float]:
    """The least-squares slope of the few-shot accuracy over log10(images), in points, for each repetition.

    of_cell  in the order of the shares
    """
    repeats = range(len(of_cell[0].few_shot))
    return [
        float(np.polyfit(np.log10([one.images[n] for one in of_cell]), [one.few_shot[n] for one in of_cell], 1)[0])
        for n in repeats
    ]


def _rounded(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 9) for value in values)


def _figures(settings: Any, found: Mapping[str, Trained]) -> tuple[Figure, ...]:
    over = (
        "Points are means over class splits, lines 95 % intervals, which include that some splits are more difficult; "
        f"the claims compare models on the same splits. {SIDE_BY_SIDE}"
    )
    few_shot = _figure("Few-shot accuracy", "top-1", "%", settings, found, lambda one: one.few_shot, over)
    caption = f"Training minus test accuracy on the known classes. {over}"
    return few_shot, _figure("Train-test gap", "gap", "points", settings, found, lambda one: one.gap, caption)


def _figure(
    title: str,
    label: str,
    unit: str,
    settings: Any,
    found: Mapping[str, Trained],
    values: Callable[[Trained], Sequence[float]],
    caption: str,
) -> Figure:
    """A panel for each size and regularisation, with a line for each model."""
    panels: dict[str, dict[str, list[tuple[float, Estimate]]]] = {}
    for one in found.values():
        lines = panels.setdefault(f"{one.cell.size}, regularisation {one.cell.regularisation}", {})
        point = float(np.mean(one.images)), _interval(values(one), unit)
        lines.setdefault(one.cell.model, []).append(point)
    x = Axis("training images", scale="log")
    drawn = [
        line_panel(lines, x, Axis(f"{label}, {cell}", unit), names=settings.models, beside=panels.values())
        for cell, lines in panels.items()
    ]
    legend = LineLegend(settings.models, settings.models)
    return Figure(f"{title} by number of images", drawn, caption, legend)
