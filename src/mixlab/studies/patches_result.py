"""The result of the study of patches: the rate of each mixing and stem, effects, costs and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float64

from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import forest_plot
from mixlab.report.grouped_plot import grouped_plot
from mixlab.report.references import data_references
from mixlab.report.table import Cell as TableCell
from mixlab.report.table import Column, Table
from mixlab.studies.arm_costs import costs_table
from mixlab.studies.arms import TrainedArms
from mixlab.studies.arms_result import Arm, ArmsResult, Quantity
from mixlab.studies.patches_claims import claims
from mixlab.studies.patches_design import (
    IMAGES,
    MIXINGS,
    SHAPES,
    STEMS,
    Cell,
    Effect,
    Fraction,
    effects,
    main_effects,
)
from mixlab.training.training import Training

_OVER = "A over B: the mean accuracy with A minus that with B, over all trained combinations of the other factors."
_INTERACTION = "(A over B) x (C over D): A over B with C, minus A over B with D."
_ALIASED = (
    "Half of the combinations were trained. Within each mixing, an effect of stem, shape or images includes half of "
    "the interaction of the other two, which is therefore not shown. Effects of the mixing and their interactions "
    "include those of three or more factors only."
)


@dataclass(frozen=True)
class Measured:
    """An arm at one learning rate.

    validation  top-1 in per cent of each repetition on the images that it left out
    """

    arm: Arm
    validation: Float64[np.ndarray, " repetition"]


ByRate = Mapping[float, Mapping[Cell, Measured]]
Rates = Mapping[tuple[str, str], float]
"""The learning rate of each mixing and stem."""


def make_result(trained: TrainedArms, settings: Any, measured: ByRate) -> ArmsResult:
    """The result. `settings` are those of the study."""
    rates = chosen_rates(measured)
    selected = {cell: measured[rates[cell.mixing, cell.stem]][cell].arm for cell in next(iter(measured.values()))}
    scores = _scores(selected)
    quantities = {effect: _quantity(effect, scores) for effect in effects(settings.fraction)}
    trainings = {cell: trained.trainings[arm.name] for cell, arm in selected.items()}
    result = trained.result(
        title="Is it the patches, the mixer or the data?",
        command="mixlab study patches",
        settings=settings,
        claims=claims(settings.fraction),
        arms=tuple(_named(cell, rates, measured, trainings[cell][0]) for cell in selected),
        columns=(Column("rate", "rate"), Column("images", "images")),
        quantities=tuple(quantities.values()),
        recipes={cell.name: trained.runs[arm.name][0].recipe for cell, arm in selected.items()},
        references=(
            "mixer",
            "convmixer",
            "davit",
            "vit",
            "earlyconvolutions",
            "metaformer",
            *data_references(trained.dataset.name),
        ),
        notes=(f"All have {trainings[next(iter(trainings))][0].steps:,} steps.",),
        own_tables=(
            _rates_table(measured, rates),
            _effects_table(measured, settings.fraction),
            _costs(trainings, settings),
        ),
        own_figures=(
            forest_plot(
                "Main effects",
                {effect.name: estimate for effect in main_effects() if (estimate := quantities[effect].estimate)},
                Axis("Difference in top-1", "points", digits=1),
                caption=f"{_OVER} Points are means over seeds, lines 95 % intervals.",
            ),
            _figure_of_cells(selected),
        ),
    )
    return replace(result, protocol=f"{result.protocol} {_sentence_about_rates(measured)}")


def chosen_rates(measured: ByRate) -> Rates:
    """The rate with the best mean accuracy on the left-out images; the smallest of equally good ones."""
    return {
        pair: max(measured, key=lambda rate: _validation(measured, rate, *pair)) for pair in product(MIXINGS, STEMS)
    }


def _validation(measured: ByRate, rate: float, mixing: str, stem: str) -> float:
    of_pair = [one.validation for cell, one in measured[rate].items() if (cell.mixing, cell.stem) == (mixing, stem)]
    return round(float(np.mean(of_pair)), 9)  # so that equal means do not differ by a rounding error


def _scores(arms: Mapping[Cell, Arm]) -> dict[Cell, Float64[np.ndarray, " repetition"]]:
    return {cell: np.array(arm.scores) for cell, arm in arms.items()}


def _figure_of_cells(arms: Mapping[Cell, Arm]) -> Figure:
    """The accuracy of every cell, by stem and mixing."""
    top1 = {
        f"{shape}, {images}": {
            f"{stem}, {mixing}": arm.top1
            for stem, mixing in product(STEMS, MIXINGS)
            if (arm := arms.get(Cell(mixing, stem, shape, images)))
        }
        for images, shape in product(IMAGES, SHAPES)
    }
    trained = f"{len(arms)} of {len(STEMS) * len(MIXINGS) * len(IMAGES) * len(SHAPES)} combinations"
    caption = f"By stem and mixing; {trained} were trained. Points are means over seeds, lines 95 % intervals."
    return grouped_plot("Accuracy of all combinations", top1, Axis("Top-1", "%", "higher", digits=1), caption=caption)


def _quantity(effect: Effect, scores: Mapping[Cell, Float64[np.ndarray, " repetition"]]) -> Quantity:
    bound = 100.0 if effect.by is None else 200.0
    return Quantity(effect.name, tuple(effect.values(scores).round(9).tolist()), least=-bound, most=bound)


def _named(cell: Cell, rates: Rates, measured: ByRate, training: Training) -> Arm:
    """The arm of a cell at its chosen rate, with its scores at every rate in results.json."""
    chosen, images = rates[cell.mixing, cell.stem], len(training.job.dataset.splits["train"])
    arm = measured[chosen][cell].arm
    by_rate = [
        {"rate": rate, "scores": list(of_rate[cell].arm.scores), "validation": of_rate[cell].validation.tolist()}
        for rate, of_rate in measured.items()
    ]
    details = {**arm.details, "rate": chosen, "images": images, "by_rate": by_rate}
    return replace(arm, name=cell.name, columns={"rate": f"{chosen:g}", "images": images}, details=details)


def _rates_table(measured: ByRate, rates: Rates) -> Table:
    rows: list[dict[str, TableCell]] = [
        {
            "mixing": mixing,
            "stem": stem,
            "chosen": f"{chosen:g}",
            **{f"{rate:g}": _validation(measured, rate, mixing, stem) for rate in measured},
        }
        for (mixing, stem), chosen in rates.items()
    ]
    columns = [
        Column("mixing", "mixing"),
        Column("stem", "stem"),
        *(Column(f"{rate:g}", f"rate {rate:g}", "%", digits=1) for rate in measured),
        Column("chosen", "chosen rate"),
    ]
    return Table("Accuracy on left-out images by learning rate", columns, rows, _notes_on_rates(measured, rates))


def _notes_on_rates(measured: ByRate, rates: Rates) -> list[str]:
    at_end = [", ".join(pair) for pair, chosen in rates.items() if chosen in (min(measured), max(measured))]
    notes = ["Means over shapes, images and seeds. No test image was used."]
    if len(measured) > 1 and at_end:
        notes.append(
            f"The chosen rate is the smallest or the largest of the list for {'; '.join(at_end)}: a rate outside the "
            "list may be better."
        )
    return notes


def _effects_table(measured: ByRate, fraction: Fraction) -> Table:
    """The effects with one rate for all networks."""
    by_rate = {rate: _scores({cell: one.arm for cell, one in of_rate.items()}) for rate, of_rate in measured.items()}
    rows: list[dict[str, TableCell]] = [
        {"name": effect.name, **{f"{rate:g}": _quantity(effect, scores).estimate for rate, scores in by_rate.items()}}
        for effect in effects(fraction)
    ]
    columns = [
        Column("name", "effect (points)"),
        *(Column(f"{rate:g}", f"all at {rate:g}", digits=1, uncertainty="interval") for rate in measured),
    ]
    chosen = "The effects at the chosen rates are in the table of derived quantities."
    notes = [chosen, _OVER, _INTERACTION, *([_ALIASED] if fraction == "half" else [])]
    return Table("Effects at each learning rate", columns, rows, notes)


def _costs(trainings: Mapping[Cell, Sequence[Training]], settings: Any) -> Table:
    """The costs of each network, which do not depend on the images, with how closely they match."""
    by_network = {cell.network.name: of_cell for cell, of_cell in trainings.items()}
    built = [of_cell[0].job.architecture for of_cell in by_network.values()]
    deviations = {
        f"{targets:,} {name}": max(abs(getattr(one, cost) / targets - 1) for one in built)
        for name, cost, targets in (
            ("parameters", "parameters", settings.parameters),
            ("multiply-accumulates", "macs", settings.macs),
        )
    }
    listed = " and ".join(f"{name} within {100 * deviation:.1f} %" for name, deviation in deviations.items())
    table = costs_table(by_network)
    return replace(table, notes=[*table.notes, f"All networks have {listed}."])


def _sentence_about_rates(measured: ByRate) -> str:
    listed = ", ".join(f"{rate:g}" for rate in measured)
    return (
        f"The learning rate of each mixing and stem was chosen from {listed} by the mean accuracy on training images "
        "that were left out."
    )
