"""The result of the study of representations: similarities of pairs of runs, read against pairs of the same model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
from jaxtyping import Float

from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import forest_plot
from mixlab.report.heat_map import HeatMap, heat_maps
from mixlab.report.machine import software_sentence
from mixlab.report.page import Section, Summary
from mixlab.report.references import bibtex
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval
from mixlab.stats.pairs_of_repetitions import pseudo_values
from mixlab.studies.methods import tests_references, tests_sentences
from mixlab.studies.representation_claims import GROUPINGS, Alone, claims_about
from mixlab.studies.result import Finding, Sample, findings_of, run_details, verdicts_sentence

_MEASURES = ("cka", "ckabatches", "hsic", "errorconsistency", "phase", "cueconflict")


@dataclass(frozen=True)
class Pair:
    """Two runs.

    same_model   whether they are two seeds of one model
    cka          of all pairs of layers
    consistency  Cohen's kappa of their errors; None if it is not defined
    """

    a: str
    b: str
    same_model: bool
    cka: Float[np.ndarray, "layer_a layer_b"]
    consistency: float | None

    @property
    def similarity(self) -> float:
        """The mean over the layers of both runs of the highest CKA with a layer of the other run."""
        return float((self.cka.max(axis=1).mean() + self.cka.max(axis=0).mean()) / 2)


@dataclass(frozen=True, kw_only=True)
class RepresentationResult:
    """Similarities of trained models: a StudyResult.

    models    the model of each run
    trainings  how each run was trained
    accuracy  top-1 on the images of the study
    names     of these images
    alone     images that one model alone classifies correctly, in the order of the models
    shape     answers with the class of the shapes, and with the class of the texture, for images with both cues
    references  keys of `mixlab.report.references`, of models and data
    """

    data: str
    settings: Mapping[str, Any]
    models: Mapping[str, str]
    trainings: Mapping[str, str]
    accuracy: Mapping[str, Estimate]
    names: Sequence[str]
    alone: Alone
    pairs: tuple[Pair, ...]
    shape: Mapping[str, tuple[int, int]]
    images: int
    references: tuple[str, ...]
    environment: Mapping[str, Any]

    @property
    def title(self) -> str:
        return "How similar are the features and the errors of trained models?"

    @property
    def kicker(self) -> str:
        return f"mixlab study representation: {self.data}, {pluralize(len(self.models), 'run')}"

    @property
    def summary(self) -> Summary:
        same = [pair.similarity for pair in self.pairs if pair.same_model]
        other = [pair.similarity for pair in self.pairs if not pair.same_model]
        parts = [f"{fmean(other):.2f} between models"] if other else []
        parts += [f"{fmean(same):.2f} between seeds of one model"] if same else []
        missing = "" if same else " Without two runs of one model, there is no reference for these values."
        found = self.findings()
        verdicts = verdicts_sentence(found) if found else "Claims need three runs of each of two models."
        return Summary(
            f"The mean CKA with the most similar layer is {', and '.join(parts)}.{missing}",
            f"On {pluralize(self.images, 'test image')}. {verdicts}",
        )

    @cached_property
    def by_models(self) -> dict[tuple[str, str], list[Pair]]:
        """The pairs of runs, by their models in the order of the runs."""
        order = list(dict.fromkeys(self.models.values()))
        found: dict[tuple[str, str], list[Pair]] = {}
        for pair in self.pairs:
            first, second = sorted((self.models[pair.a], self.models[pair.b]), key=order.index)
            found.setdefault((first, second), []).append(pair)
        return found

    def findings(self) -> list[Finding]:
        """Of the claims about the model of the first run and each other model with three runs or more."""
        first, *others = self._runs
        others = [other for other in others if len(self._runs[other]) > 2]
        if len(self._runs[first]) < 3:
            return []
        claims = [claim for other in others for claim in claims_about(first, other)]
        values = [values for other in others for values in self._below_seeds(first, other)]
        return findings_of(claims, [Sample(each, -2, 2) for each in values])

    @cached_property
    def _runs(self) -> dict[str, list[str]]:
        """The runs of each model."""
        found: dict[str, list[str]] = {}
        for run, model in self.models.items():
            found.setdefault(model, []).append(run)
        return found

    def _below_seeds(self, a: str, b: str) -> tuple[list[float], list[float]]:
        """The similarity of two models minus that of two seeds, by CKA and by kappa, as a value for each repetition.

        A pair of repetitions has two pairs of runs of both models, with different seeds, and a pair of each model. No
        values of kappa if it is not defined for one of them.
        """
        pairs = {frozenset((pair.a, pair.b)): pair for pair in self.pairs}
        repeats = min(len(self._runs[a]), len(self._runs[b]))
        similarities, consistencies = np.zeros((2, repeats, repeats))
        for first, second in combinations(range(repeats), 2):
            one, other = ([self._runs[model][number] for model in (a, b)] for number in (first, second))
            between = [pairs[frozenset(runs)] for runs in ((one[0], other[1]), (other[0], one[1]))]
            seeds = [pairs[frozenset(runs)] for runs in zip(one, other, strict=True)]
            below = fmean(pair.similarity for pair in between) - fmean(pair.similarity for pair in seeds)
            similarities[first, second] = similarities[second, first] = below
            kappas = [math.nan if pair.consistency is None else pair.consistency for pair in (*between, *seeds)]
            consistencies[first, second] = consistencies[second, first] = fmean(kappas[:2]) - fmean(kappas[2:])
        defined = not np.isnan(consistencies).any()
        return pseudo_values(similarities), pseudo_values(consistencies) if defined else []

    def tables(self) -> list[Table]:
        rows: list[dict[str, Cell]] = []
        for (a, b), pairs in self.by_models.items():
            kappas = [pair.consistency for pair in pairs if pair.consistency is not None]
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "pairs": len(pairs),
                    "cka": fmean(pair.similarity for pair in pairs),
                    "lowest": min(pair.similarity for pair in pairs),
                    "highest": max(pair.similarity for pair in pairs),
                    "kappa": fmean(kappas) if kappas else None,
                }
            )
        columns = [
            Column("a", "model"),
            Column("b", "and"),
            Column("pairs", "pairs of runs"),
            Column("cka", "CKA", digits=3),
            Column("lowest", "lowest", digits=3),
            Column("highest", "highest", digits=3),
            Column("kappa", "error consistency", digits=3),
        ]
        notes = [
            "CKA: debiased, mean over the layers of the highest value with a layer of the other run. Rows with the "
            "same model twice are pairs of seeds, the reference for the others.",
            "Error consistency: Cohen's kappa of correct and wrong answers; 0 if models agree as often as independent "
            "models with their accuracies.",
        ]
        return [Table("Similarity of pairs", columns, rows, notes), self._alone_table(), self._runs_table()]

    def _alone_table(self) -> Table:
        rows: list[dict[str, Cell]] = [
            {"model": model, "runs": len(runs), "images": len(images), "share": 100 * len(images) / self.images}
            for (model, runs), images in zip(self._runs.items(), self.alone.images, strict=True)
        ]
        columns = [
            Column("model", "model"),
            Column("runs", "runs"),
            Column("images", "images"),
            Column("share", "of all images", "%", digits=1),
        ]
        total = sum(map(len, self.alone.images))
        note = (
            "Images that all runs of the model classify correctly, and no run of another model: "
            f"{total:,} in total, and {self.alone.expected:.1f} on average if runs are assigned to models at random "
            f"(permutation test, p = {self.alone.p:.4f}). results.json names them."
        )
        return Table("Images that one model alone classifies correctly", columns, rows, [note])

    def _runs_table(self) -> Table:
        rows: list[dict[str, Cell]] = [
            {
                "run": name,
                "model": model,
                "top1": self.accuracy[name],
                "either": 100 * sum(self.shape[name]) / self.images,
                "shape": self.shape_share(name),
            }
            for name, model in self.models.items()
        ]
        columns = [
            Column("run", "run"),
            Column("model", "model"),
            Column("top1", "top-1", "%", digits=1, uncertainty="interval"),
            Column("either", "either cue", "%", digits=1),
            Column("shape", "shape of either", "%", digits=1, uncertainty="interval"),
        ]
        note = (
            "The images of the last columns have the Fourier phases of one image, which determine its shapes, and the "
            "amplitudes of an image of another class. Either cue: answers with one of the two classes. Intervals are "
            "over images."
        )
        return Table("Runs", columns, rows, [note, *(f"{run}: {text}." for run, text in self.trainings.items())])

    def shape_share(self, name: str) -> Estimate | None:
        """The share of shape among the answers with one of the two cues; None without such answers."""
        shapes, textures = self.shape[name]
        return proportion_interval(shapes, shapes + textures) if shapes + textures else None

    def figures(self) -> list[Figure]:
        maps = []
        for (a, b), (pair, *_) in self.by_models.items():
            first, second = (self.models[pair.a], self.models[pair.b])
            alt = f"CKA of the layers of {a} and {b}: {pair.similarity:.2f}"
            maps.append(HeatMap(pair.cka, first, f"{second}, another seed" if a == b else second, alt))
        caption = "Debiased CKA of each layer of one model (rows) with each layer of the other one (columns)."
        figures = [heat_maps("Similarity of layers", maps, "CKA", caption=caption)]
        shares = {name: share for name in self.models if (share := self.shape_share(name)) is not None}
        if shares:
            axis = Axis("Shapes among answers with either cue", "%", digits=0)
            caption = "Lines are 95 % intervals over images."
            figures.append(forest_plot("Answers with the class of the shapes", shares, axis, caption=caption))
        return figures

    @property
    def methods(self) -> str:
        findings = self.findings()
        sentences = [
            f"{pluralize(len(self.models), 'run')} of {pluralize(len(self._runs), 'model')} were compared on "
            f"{pluralize(self.images, 'test image')} of {self.data}, which were drawn at random. All pairs of layers "
            "were compared by debiased centred kernel alignment, with unbiased estimates of the Hilbert-Schmidt "
            f"independence criterion that are means over batches of {self.settings['batch']} images, and errors by "
            "Cohen's kappa of correct and wrong answers.",
            "The number of images that all runs of a model classify correctly, and no run of another model, was "
            f"compared with that of {GROUPINGS:,} random assignments of the runs to groups of the same sizes.",
            "Images with two cues have the Fourier phases of one image and the amplitudes of one of another class.",
            "Intervals of accuracies and of shares of answers are 95 % score intervals over images.",
            "A claim compares all pairs of runs of two models with different seeds with all pairs of seeds of each; "
            "intervals of differences are 95 % intervals of Student's t over jackknife values, one for each repetition."
            if findings
            else "",
            *tests_sentences(findings),
            software_sentence(self.environment),
        ]
        return " ".join(filter(None, sentences))

    @property
    def bibtex(self) -> str:
        findings = self.findings()
        tests = tests_references(findings) if findings else []
        return bibtex(
            [*self.references, *_MEASURES, "permutationp", "wilson", *(["jackknife"] if findings else []), *tests]
        )

    def details(self) -> Section:
        return run_details(self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "settings": dict(self.settings),
            "runs": {
                name: {"model": model, "top1": asdict(self.accuracy[name]), "shape_and_texture": self.shape[name]}
                for name, model in self.models.items()
            },
            "pairs": [asdict(pair) | {"cka": pair.cka.tolist(), "similarity": pair.similarity} for pair in self.pairs],
            "alone": {
                model: [self.names[place] for place in images]
                for model, images in zip(self._runs, self.alone.images, strict=True)
            },
        }
