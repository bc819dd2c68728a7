"""Which modules mix places, which mix channels, and how far?

The Jacobian of every module shows exactly what an output depends on: a gradient of 0 in float64 is no dependence. Its
weights show how far a module mixes. The effective receptive field shows this for a whole network (Luo et al. 2016). For
models without training, all weights are random, including those that are 0 at the start of a training.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.measure import machine
from mixlab.models.contract import height_and_width
from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.image_panels import ImageFigure, ImagePanel, sequential
from mixlab.report.lines import LineLegend, line_panel
from mixlab.report.machine import software_sentence
from mixlab.report.page import Section, Summary
from mixlab.report.progress import Log
from mixlab.report.references import bibtex
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import join_words, pluralize
from mixlab.stats.estimate import Estimate
from mixlab.studies.grids import require_distinct
from mixlab.studies.jacobian import Mixing, effective_receptive_field, half_area, mixing_of
from mixlab.studies.mixing_claims import mixing_findings
from mixlab.studies.mixing_modules import FIXED, mixing_modules
from mixlab.studies.result import Finding, run_details, verdicts_sentence
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.weights.source import is_pretrained
from mixlab.zoo.architecture import Model, architecture, create_model
from mixlab.zoo.references import model_references

COST = "less than a minute; needs no data"

_HEAT_MAP = 256  # pixels


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    models: tuple[str, ...] = field(
        default=("mixer_nano", "convmixer_nano", "davit_nano", "resnet_nano", "vit_nano"),
        metadata={"help": "Models with random weights, runs, or published weights."},
    )
    rows: int = field(default=64, metadata={"help": "Random rows of the Jacobian of each module.", "min": 1})
    images: int = field(default=32, metadata={"help": "Noise images for the effective receptive field.", "min": 1})
    seed: int = field(default=0, metadata={"help": "Seed of weights, images and rows.", "min": 0, "max": 2**63 - 1})


@dataclass(frozen=True)
class Measured:
    """A model: what its modules mix, in the order in which they are applied, and its effective receptive field.

    field       mean squared gradient by pixel (row, column)
    references  keys of `mixlab.report.references`
    """

    modules: tuple[Mixing, ...]
    is_trained: bool
    field: np.ndarray
    references: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MixingResult:
    """What each module mixes: a StudyResult."""

    settings: Settings
    models: Mapping[str, Measured]
    environment: Mapping[str, Any]

    @property
    def title(self) -> str:
        return "Which modules mix places, which mix channels, and how far?"

    @property
    def kicker(self) -> str:
        return f"mixlab study mixing: {', '.join(self.models)}"

    @cached_property
    def kinds(self) -> dict[str, dict[str, list[Mixing]]]:
        """The modules of each kind, by model."""
        found: dict[str, dict[str, list[Mixing]]] = {}
        for name, measured in self.models.items():
            by_kind = found.setdefault(name, {})
            for one in measured.modules:
                by_kind.setdefault(one.kind, []).append(one)
        return found

    @property
    def summary(self) -> Summary:
        kinds: dict[str, list[Mixing]] = {}
        for by_kind in self.kinds.values():
            for kind, modules in by_kind.items():
                if not kind.endswith(FIXED):
                    kinds.setdefault(kind, []).extend(modules)
        separate = [kind for kind, modules in kinds.items() if all(one.mixes == "places" for one in modules)]
        both = [kind for kind, modules in kinds.items() if any(one.mixes == "places and channels" for one in modules)]
        parts = [
            f"Places only: {join_words(separate, most=9)}." if separate else "No module mixes places only.",
            f"Places and channels: {join_words(both, most=9)}." if both else "",
        ]
        return Summary(
            " ".join(part for part in parts if part),
            f"Shown by {pluralize(self.settings.rows, 'random row')} of the Jacobian of each module in float64; all "
            f"other modules mix channels only, or nothing. {verdicts_sentence(self.findings())}",
        )

    def findings(self) -> list[Finding]:
        return mixing_findings(self.kinds)

    def tables(self) -> list[Table]:
        rows: list[dict[str, Cell]] = [
            {
                "model": name,
                "kind": kind,
                "count": len(modules),
                "mixes": join_words(list(dict.fromkeys(one.mixes for one in modules))),
                "reach": max(one.reach for one in modules),
                "cells": 100 * fmean(one.cells for one in modules),
                "distance": fmean(one.distance for one in modules),
            }
            for name, by_kind in self.kinds.items()
            for kind, modules in by_kind.items()
        ]
        columns = [
            Column("model", "model"),
            Column("kind", "module"),
            Column("count", "modules"),
            Column("mixes", "mixes"),
            Column("reach", "reach", "cells"),
            Column("cells", "of all cells", "%", digits=1),
            Column("distance", "mixing distance", "px", digits=2),
        ]
        notes = [
            "Reach: the largest distance of a cell of the grid, in rows or columns, that an output depends on. The "
            "mixing distance is the mean distance in pixels of the image, weighted by the squared gradient.",
        ]
        kinds = [kind for by_kind in self.kinds.values() for kind in by_kind]
        if any(kind.endswith(FIXED) for kind in kinds):
            notes.append(
                "An attention depends on other places in two ways, through its weights and through the values that "
                f'they weigh. The rows "{FIXED.removeprefix(", ")}" have the second one only.'
            )
        return [Table("What each module mixes", columns, rows, notes, models=list(self.models)), self._fields_table()]

    def _fields_table(self) -> Table:
        rows: list[dict[str, Cell]] = [
            {
                "model": name,
                "weights": "trained" if measured.is_trained else "random",
                "pixels": 100 * float((measured.field > 0).mean()),
                "half": 100 * half_area(torch.from_numpy(measured.field)),
            }
            for name, measured in self.models.items()
        ]
        columns = [
            Column("model", "model"),
            Column("weights", "weights"),
            Column("pixels", "receptive field", "% of the pixels", digits=1),
            Column("half", "half of the gradient", "% of the pixels", digits=1),
        ]
        note = (
            f"Of the features at the centre of the last feature map, for "
            f"{pluralize(self.settings.images, 'noise image')}. The second column is the smallest share of the pixels "
            "with half of the squared gradient."
        )
        return Table("Effective receptive field", columns, rows, [note], models=list(self.models))

    def figures(self) -> list[Figure | ImageFigure]:
        panels = [
            ImagePanel(name, _heat_map(measured.field), f"Effective receptive field of {name}")
            for name, measured in self.models.items()
        ]
        caption = (
            "The squared gradient of the features at the centre of the last feature map with respect to each pixel. "
            "The colour shows its fourth root, relative to the largest value: half of the full colour is 1/16 of it."
        )
        figures: list[Figure | ImageFigure] = [ImageFigure("Effective receptive field", panels, caption)]
        lines: dict[str, list[tuple[float, Estimate]]] = {}
        for name, measured in self.models.items():
            for place, one in enumerate(measured.modules, 1):
                if "places" in one.mixes and not one.kind.endswith(FIXED):
                    point = (100 * place / len(measured.modules), Estimate.exact(one.distance, "px"))
                    lines.setdefault(f"{name}, {one.kind}", []).append(point)
        if lines:
            depth, distance = Axis("Depth", "%", digits=0), Axis("Mixing distance", "px")
            distance = distance.logarithmic_over_a_decade(up.value for line in lines.values() for _, up in line)
            names = list(lines)
            panel = line_panel(lines, depth, distance, names=names)
            caption = "All modules that mix places. The depth of a module is its place among all modules of its model."
            figures.append(Figure("Mixing distance by layer", [panel], caption, LineLegend(names, names)))
        return figures

    @property
    def methods(self) -> str:
        modules = sum(len(measured.modules) for measured in self.models.values())
        random = [name for name, measured in self.models.items() if not measured.is_trained]
        sentences = [
            f"{pluralize(modules, 'module')} of {join_words(list(self.models), most=9)} were measured in float64 on a "
            f"noise image, by {pluralize(self.settings.rows, 'random row')} of the Jacobian of each; a gradient of "
            "exactly 0 is no dependence.",
            f"The weights of {join_words(random, most=9)} are random." if random else "",
            "The values of the claims are counts over all modules and these rows. They are exact, so that there are "
            "no tests.",
            "The effective receptive field is the squared gradient of the features at the centre of the last feature "
            f"map with respect to each pixel, a mean over {pluralize(self.settings.images, 'noise image')}.",
            software_sentence(self.environment),
        ]
        return " ".join(filter(None, sentences))

    @property
    def bibtex(self) -> str:
        models = (key for measured in self.models.values() for key in measured.references)
        return bibtex([*models, "receptivefield"])

    def details(self) -> Section:
        return run_details(self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "settings": asdict(self.settings),
            "models": {
                name: {
                    "trained": measured.is_trained,
                    "modules": [asdict(one) for one in measured.modules],
                    "effective_receptive_field": measured.field.tolist(),
                }
                for name, measured in self.models.items()
            },
        }


def run(settings: Settings, *, quiet: bool, log: Log) -> MixingResult:
    """Measure all models in float64, on noise images.

    Raises UserError if a model is there twice, can't be built or loaded, also for larger images, or has no modules that
    are known.
    """
    require_distinct("--models", settings.models)
    models = {}
    for name in settings.models:
        models[name] = _measure(name, settings)
        log(f"{name}: {len(models[name].modules)} modules")
    return MixingResult(settings=settings, models=models, environment=machine.describe())


def _measure(name: str, settings: Settings) -> Measured:
    is_trained = is_pretrained(name)
    generator = torch.Generator().manual_seed(settings.seed)
    if is_trained:
        weights = load_pretrained(name).weights
        model, built = build_with_weights(weights), weights.architecture
    else:
        model, built = _random_model(name, settings.seed), architecture(name)
    model = model.double().eval()
    height, width = height_and_width(built.image_size)
    shape = (settings.images, model.config.image_channels, height, width)
    images = torch.randn(shape, generator=generator, dtype=torch.float64)
    found = mixing_modules(model, built, images[0])
    if {module.kind for module in found} <= {"stem"}:
        raise UserError(
            f"{name} has no modules that this study knows: give --models with Mixers, ConvMixers, DaViTs, ResNets and "
            "ViTs of timm, or your own models with blocks in their body."
        )
    modules = [mixing_of(module, height, settings.rows, generator) for module in found]
    field = effective_receptive_field(model, images, generator).numpy()
    return Measured(tuple(modules), is_trained, field, tuple(model_references(built)))


def _random_model(name: str, seed: int) -> Model:
    """A model with random weights, biases and norms. At the start of a training, some of them are 0 or 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(name)
        for parameter in model.parameters():
            if parameter.ndim <= 1 or not parameter.any():
                nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.1)
    return model


def _heat_map(field: np.ndarray) -> np.ndarray:
    image = sequential((field / field.max()) ** 0.25)
    scale = max(1, _HEAT_MAP // image.shape[0])
    return image.repeat(scale, axis=0).repeat(scale, axis=1)
