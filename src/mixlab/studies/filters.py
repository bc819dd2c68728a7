"""What do the filters of a trained model look like, and are they smooth?

The token-mixing units of a Mixer are shown as maps over the patches, smooth ones first, each next to its nearest
inverse (Tolstikhin et al. 2021, appendix D); for a ConvMixer, the depthwise kernels; for a DaViT, the channel attention
that follows from the weights. Other models can have token-mixing units and depthwise kernels. The smoothness is
compared with that of the same weights after random permutations of the positions. If the images were permuted in
training, the filters are also arranged like the original images.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mixlab.errors import UserError
from mixlab.measure import machine
from mixlab.models.contract import height_and_width
from mixlab.report.image_panels import ImageFigure
from mixlab.report.machine import software_sentence
from mixlab.report.page import Section, Summary
from mixlab.report.progress import Log
from mixlab.report.references import bibtex
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import join_words, number_range, pluralize
from mixlab.runs.store import finished_run
from mixlab.stats.paired import holm
from mixlab.studies.filter_maps import order_with_inverses
from mixlab.studies.filter_panels import attention_panel, maps_panel, stem_panel
from mixlab.studies.methods import run_note
from mixlab.studies.model_filters import (
    UNITS,
    channel_attention_maps,
    position_filters,
    source_positions,
    stem_filters,
    unpermuted,
    unpermuted_units,
)
from mixlab.studies.result import ALPHA, Finding, run_details
from mixlab.studies.smoothness import Smoothness, smoothness, smoothness_claim, smoothness_table
from mixlab.studies.symmetry import patch_size_of
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.zoo.references import model_references

COST = "a few seconds; needs trained weights"

STORED, UNPERMUTED = "as stored", "un-permuted"
DEFAULT_BLOCKS = 3


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    model: str = field(metadata={"help": "Weights: a run, a published name, a folder or a file."})
    blocks: str = field(default="", metadata={"help": "Blocks in the figures, such as 1,2,6; default: the first 3."})
    units: int = field(default=128, metadata={"help": "Filters of a block in the figures, at most.", "min": 2})
    permutations: int = field(default=999, metadata={"help": "Random permutations of the positions.", "min": 19})
    seed: int = field(default=0, metadata={"help": "Seed of the permutations.", "min": 0, "max": 2**63 - 1})


@dataclass(frozen=True, kw_only=True)
class FiltersResult:
    """The filters of a model: a StudyResult.

    stem      filters (unit, image channel, y, x), arranged for the original images if that is known; None without a
              convolution
    measured  the smoothness of all blocks with filters over positions
    attention of a DaViT, by block: maps (group, d, d)
    references  keys of `mixlab.report.references`, of the model
    """

    settings: Settings
    stem: np.ndarray | None
    measured: tuple[Smoothness, ...]
    attention: Mapping[str, np.ndarray]
    notes: tuple[str, ...]
    references: tuple[str, ...]
    environment: Mapping[str, Any]

    @property
    def title(self) -> str:
        return "What do the filters of a trained model look like, and are they smooth?"

    @property
    def kicker(self) -> str:
        return f"mixlab study filters: {self.settings.model}"

    @cached_property
    def by_kind(self) -> dict[str, list[int]]:
        """The indices of `measured` by what mixes positions: "token-mixing units" and "depthwise kernels"."""
        found: dict[str, list[int]] = {}
        for index, each in enumerate(self.measured):
            found.setdefault(each.kind, []).append(index)
        return found

    @property
    def filters(self) -> str:
        return join_words(list(self.by_kind)) if self.measured else "channel attention"

    @property
    def _noun(self) -> str:
        """What has a row: a block, or a layer if there are blocks with several layers of one kind."""
        return "layer" if any(", " in each.block for each in self.measured) else "block"

    @cached_property
    def claimed(self) -> list[bool]:
        """Whether there is a claim about each of `measured`: in the last arrangement of its kind."""
        last = {each.kind: each.arrangement for each in self.measured}
        return [each.arrangement == last[each.kind] for each in self.measured]

    @cached_property
    def p_holm(self) -> list[float]:
        """The p-values of `measured`, adjusted for all with a claim, and for all others."""
        adjusted: dict[int, float] = {}
        for claimed in (True, False):
            chosen = [index for index, one in enumerate(self.claimed) if one == claimed]
            adjusted |= zip(chosen, holm([self.measured[index].p for index in chosen]), strict=True)
        return [adjusted[index] for index in range(len(self.measured))]

    @property
    def summary(self) -> Summary:
        if not self.measured:
            blocks = pluralize(len(self.attention), "block")
            return Summary(
                f"{self.settings.model} has {self.filters} in {blocks}, and no filters over positions.",
                "Its window attention depends on the image. The maps of its channel attention follow from the weights.",
            )
        return Summary(
            " ".join(map(self._sentence, self.by_kind)),
            f"p < {ALPHA} by {pluralize(self.settings.permutations, 'permutation')} of the positions, adjusted by "
            f"Holm's method for all {self._noun}s.",
        )

    def _sentence(self, kind: str) -> str:
        smooth: dict[str, list[bool]] = {}
        for index in self.by_kind[kind]:
            smooth.setdefault(self.measured[index].arrangement, []).append(self.p_holm[index] < ALPHA)
        counts = [
            f"{sum(ones)} of {pluralize(len(ones), self._noun)}{f' {arrangement}' if len(smooth) > 1 else ''}"
            for arrangement, ones in smooth.items()
        ]
        return f"The {kind} of {self.settings.model} are smoother than with permuted positions in {join_words(counts)}."

    def findings(self) -> list[Finding]:
        """The claim for every block, in the arrangement of the original images."""
        return [
            Finding(smoothness_claim(each.kind, each.block), each.difference, p_holm)
            for each, p_holm, claimed in zip(self.measured, self.p_holm, self.claimed, strict=True)
            if claimed
        ]

    def tables(self) -> list[Table]:
        permutations = self.settings.permutations
        note = f"With {pluralize(permutations, 'permutation')}, the smallest p is {1 / (1 + permutations):.2g}."
        tables = []
        for kind, indices in self.by_kind.items():
            measured, p_holm = [self.measured[index] for index in indices], [self.p_holm[index] for index in indices]
            tables.append(smoothness_table(f"Smoothness of the {kind}", measured, p_holm, [note, *self.notes]))
        return [*tables, self._attention_table()] if self.attention else tables

    def _attention_table(self) -> Table:
        rows: list[dict[str, Cell]] = []
        for name, maps in self.attention.items():
            groups, d, _ = maps.shape
            logarithms = np.log2(np.where(maps > 0, maps, 1))
            rows.append(
                {
                    "block": name,
                    "groups": groups,
                    "channels": d,
                    "entropy": float(-(maps * logarithms).sum(axis=2).mean()),
                    "uniform": float(np.log2(d)),
                    "self": 100 * float(maps.diagonal(axis1=1, axis2=2).mean()),
                    "chance": 100 / d,
                }
            )
        columns = [
            Column("block", "block"),
            Column("groups", "groups"),
            Column("channels", "channels of a group"),
            Column("entropy", "entropy", "bits", digits=2),
            Column("uniform", "if uniform", "bits", digits=2),
            Column("self", "of a channel to itself", "%", digits=1),
            Column("chance", "if uniform", "%", digits=1),
        ]
        note = (
            "Channel attention depends on the image. These maps follow from the weights, for tokens with uncorrelated "
            "channels of equal variance."
        )
        return Table("Channel attention", columns, rows, [note, *self.notes])

    def figures(self) -> list[ImageFigure]:
        figures = []
        units = self.settings.units
        for kind, indices in self.by_kind.items():
            measured = [self.measured[index] for index in indices]
            blocks = self._shown([each.block for each in measured])
            panels = [maps_panel(each, units) for each in measured if each.block in blocks]
            caption = (
                "From low to high frequency, each filter followed by its nearest inverse. Blue is negative, vermilion "
                "positive; each filter has its own scale."
            )
            figures.append(ImageFigure(kind.capitalize(), panels, caption))
        if self.attention:
            panels = [attention_panel(name, self.attention[name]) for name in self._shown(list(self.attention))]
            caption = "Attention from each channel (row) to each channel of its group (column). Each map has its scale."
            figures.append(ImageFigure("Channel attention", panels, caption))
        if self.stem is not None and self.stem.shape[1] in (1, 3):
            caption = (
                "As colours, from low to high frequency of their mean over the colours; each filter has its own scale."
            )
            if any(each.arrangement == UNPERMUTED for each in self.measured):
                caption += " Un-permuted: each weight is at the position that its pixel has in the original image."
            figures.append(ImageFigure("Filters of the stem", [stem_panel(self.stem, units)], caption))
        return figures

    def _shown(self, blocks: Sequence[str]) -> list[str]:
        """Those of `blocks`, which may repeat, that `--blocks` numbers; the first three by default."""
        names = list(dict.fromkeys(blocks))
        numbers = map(int, self.settings.blocks.split(",")) if self.settings.blocks else range(1, DEFAULT_BLOCKS + 1)
        return [names[number - 1] for number in numbers if number <= len(names)]

    @property
    def methods(self) -> str:
        sentences = [f"Only the weights of {self.settings.model} were used, those of its {self.filters}."]
        if self.measured:
            sets = []
            for kind, indices in self.by_kind.items():
                stored = [self.measured[index] for index in indices if self.measured[index].arrangement == STORED]
                n = number_range(len(each.maps) for each in stored)
                sets.append(f"{kind} of {pluralize(len(stored), self._noun)}, n = {n}")
            sentences.append(
                f"The statistic is the mean frequency of the filters of a {self._noun} ({'; '.join(sets)}), which is "
                "the mean radial frequency of the Fourier transform without the mean, weighted by power. It was "
                "compared with that of the same weights after "
                f"{pluralize(self.settings.permutations, 'random permutation')} of the positions, the same one for all "
                f"filters of a {self._noun}. P-values are one-sided, and the observed arrangement counts as one of the "
                f"permutations; they were adjusted by Holm's method for all {self._noun}s; the level is {ALPHA:g}."
            )
        if not all(self.claimed):
            sentences.append(f"This was done for the {UNITS} as stored, and as arranged for the original images.")
        if self.attention:
            sentences.append(
                f"The maps of {pluralize(len(self.attention), 'block')} are those for tokens with uncorrelated "
                "channels of equal variance. They are computed, not estimated, so that there are no tests."
            )
        return " ".join([*sentences, software_sentence(self.environment)])

    @property
    def bibtex(self) -> str:
        return bibtex([*self.references, *(["permutationp", "holm"] if self.measured else [])])

    def details(self) -> Section:
        return run_details(self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.settings.model,
            "settings": asdict(self.settings),
            "blocks": [
                {
                    "filters": each.kind,
                    "block": each.block,
                    "arrangement": each.arrangement,
                    "positions": list(each.maps.shape[1:]),
                    "frequencies": each.frequency.tolist(),
                    "order": order_with_inverses(each.maps).tolist(),
                    "expected": each.expected,
                    "p": each.p,
                    "p_holm": p_holm,
                }
                for each, p_holm in zip(self.measured, self.p_holm, strict=True)
            ],
            "channel_attention": {name: maps.tolist() for name, maps in self.attention.items()},
        }


def run(settings: Settings, *, quiet: bool, log: Log) -> FiltersResult:
    """Read the filters from the weights and measure their smoothness.

    Raises UserError if the weights can't be loaded, or their model has no filters.
    """
    pretrained = load_pretrained(settings.model)
    built = pretrained.weights.architecture
    model = build_with_weights(pretrained.weights)
    stem, found, attention = stem_filters(model), position_filters(model, built), channel_attention_maps(model)
    if not found and not attention:
        raise UserError(
            f"{settings.model} has no filters that this study knows: give --model with a Mixer, a ConvMixer, a DaViT, "
            "or your own model with a linear layer over the places or a depthwise convolution."
        )
    _require_blocks(settings.blocks, max([len(attention), *Counter(each.kind for each in found).values()]))
    sets = [(filters, STORED) for filters in found]
    notes: tuple[str, ...] = ()
    if (transform := pretrained.preprocess.transform) is not None:
        image_size, patch = height_and_width(built.image_size), patch_size_of(model.get_submodule("stem"))
        sources = None if patch is None else source_positions(transform, image_size, patch)
        if sources is None:
            notes = (f"The images were permuted ({transform.name}), and the filters can't be arranged accordingly.",)
        else:
            stem = None if stem is None else unpermuted(stem, sources[1])
            sets += [(filters, UNPERMUTED) for filters in unpermuted_units(found, sources[0])]
            notes = (
                f'The images of the training were permuted ({transform.name}). The arrangement "{UNPERMUTED}" moves '
                "each weight to the position that its patch or pixel has in the original image.",
            )
    if (trained := finished_run(Path(settings.model))) is not None:
        notes = (*notes, f"{settings.model} was trained with {run_note(trained.recipe)}.")
    measured = []
    for filters, arrangement in sets:
        measured.append(smoothness(filters, arrangement, settings.permutations, settings.seed))
        frequency, p = measured[-1].frequency.mean(), measured[-1].p
        log(f"{filters.kind}, {filters.block}, {arrangement}: mean frequency {frequency:.3f}, p = {p:.3g}")
    return FiltersResult(
        settings=settings,
        stem=stem,
        measured=tuple(measured),
        attention=attention,
        notes=notes,
        references=tuple(model_references(built)),
        environment=machine.describe(),
    )


def _require_blocks(blocks: str, count: int) -> None:
    """Raises UserError if `blocks` has something else than numbers from 1 to `count` with commas."""
    words = [word.strip() for word in blocks.split(",")]
    if blocks and not all(word.isdigit() and 1 <= int(word) <= count for word in words):
        raise UserError(
            f"--blocks {blocks} is not valid: give numbers from 1 to {count} with commas, such as 1,{count}."
        )
