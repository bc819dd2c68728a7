"""What do the filters of a trained model look like, and are they smooth?

The token-mixing units of a Mixer are shown as maps over the patches, smooth ones first, each next to its nearest
inverse (Tolstikhin et al. 2021, appendix D); for a ConvMixer, the depthwise kernels; for a DaViT, the channel attention
that follows from the weights. The smoothness is compared with that of the same weights after random permutations of the
positions. If the images were permuted in training, the filters are also arranged like the original images.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mixlab.errors import UserError
from mixlab.measure import machine
from mixlab.models.contract import height_and_width
from mixlab.models.convmixer import ConvMixer
from mixlab.models.davit import DaViT
from mixlab.models.mixer import Mixer
from mixlab.report.image_panels import ImageFigure, ImagePanel, arranged, sequential, symmetric
from mixlab.report.page import Section, Summary
from mixlab.report.progress import Log
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import join_words, number_range, pluralize
from mixlab.stats.paired import holm
from mixlab.studies.filter_maps import frequencies, order_with_inverses
from mixlab.studies.methods import bibtex, model_references, software_sentence
from mixlab.studies.model_filters import (
    channel_attention_maps,
    mixing_maps,
    source_positions,
    stem_filters,
    unpermuted,
)
from mixlab.studies.result import ALPHA, Finding, run_details
from mixlab.studies.smoothness import Smoothness, smoothness, smoothness_claim, smoothness_table
from mixlab.weights.load import build_with_weights, load_pretrained

COST = "a few seconds; needs trained weights"

STORED, UNPERMUTED = "as stored", "un-permuted"
DEFAULT_BLOCKS = 3
_COLUMNS = 16  # tiles in a line
_ATTENTION_COLUMNS, _ATTENTION_SIDE = 4, 96  # maps in a line, and pixels of each
_FILTERS = {Mixer: "token-mixing units", ConvMixer: "depthwise kernels", DaViT: "channel attention"}


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

    filters   what mixes: "token-mixing units", "depthwise kernels" or "channel attention"
    stem      filters (unit, image channel, y, x), arranged for the original images if that is known
    measured  the smoothness of all blocks with filters over positions
    attention of a DaViT, by block: maps (group, d, d)
    references  keys of references.bib, of the model
    """

    settings: Settings
    filters: str
    stem: np.ndarray
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
    def p_holm(self) -> list[float]:
        """The p-values of `measured`, adjusted for all blocks with the same arrangement."""
        adjusted: dict[int, float] = {}
        for arrangement in dict.fromkeys(each.arrangement for each in self.measured):
            chosen = [index for index, each in enumerate(self.measured) if each.arrangement == arrangement]
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
        counts = []
        for arrangement in dict.fromkeys(each.arrangement for each in self.measured):
            pairs = zip(self.measured, self.p_holm, strict=True)
            smooth = [p < ALPHA for each, p in pairs if each.arrangement == arrangement]
            suffix = f" {arrangement}" if len({each.arrangement for each in self.measured}) > 1 else ""
            counts.append(f"{sum(smooth)} of {pluralize(len(smooth), 'block')}{suffix}")
        return Summary(
            f"The {self.filters} of {self.settings.model} are smoother than with permuted positions in "
            f"{join_words(counts)}.",
            f"p < {ALPHA} by {pluralize(self.settings.permutations, 'permutation')} of the positions, adjusted by "
            "Holm's method for all blocks.",
        )

    def findings(self) -> list[Finding]:
        """The claim for every block, in the arrangement of the original images."""
        last = self.measured[-1].arrangement if self.measured else STORED
        return [
            Finding(smoothness_claim(self.filters, each.block), each.difference, p_holm)
            for each, p_holm in zip(self.measured, self.p_holm, strict=True)
            if each.arrangement == last
        ]

    def tables(self) -> list[Table]:
        permutations = self.settings.permutations
        note = f"With {pluralize(permutations, 'permutation')}, the smallest p is {1 / (1 + permutations):.2g}."
        title = f"Smoothness of the {self.filters}"
        tables = [smoothness_table(title, self.measured, self.p_holm, [note, *self.notes])] if self.measured else []
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
        shown = [each for each in self.measured if each.block in self._shown_blocks]
        if shown:
            panels = [_maps_panel(each, self.settings.units) for each in shown]
            caption = (
                "From low to high frequency, each filter followed by its nearest inverse. Blue is negative, vermilion "
                "positive; each filter has its own scale."
            )
            figures.append(ImageFigure(f"{self.filters.capitalize()}", panels, caption))
        if self.attention:
            panels = [_attention_panel(name, self.attention[name]) for name in self._shown_blocks]
            caption = "Attention from each channel (row) to each channel of its group (column). Each map has its scale."
            figures.append(ImageFigure("Channel attention", panels, caption))
        if self.stem.shape[1] in (1, 3):
            figures.append(self._stem_figure())
        return figures

    @property
    def _shown_blocks(self) -> list[str]:
        names = list(dict.fromkeys([*(each.block for each in self.measured), *self.attention]))
        return [names[number - 1] for number in _block_numbers(self.settings.blocks, len(names))]

    def _stem_figure(self) -> ImageFigure:
        order = np.argsort(frequencies(self.stem.mean(axis=1)), kind="stable")
        chosen = self.stem[order[_spread(len(order), self.settings.units)]]
        low, high = (end(chosen, axis=(1, 2, 3), keepdims=True) for end in (np.min, np.max))
        scaled = (chosen - low) / np.where(high > low, high - low, 1)
        colours = np.rint(255 * np.moveaxis(scaled, 1, 3)).astype(np.uint8)
        image = arranged(np.broadcast_to(colours, (*colours.shape[:3], 3)), _COLUMNS)
        panel = ImagePanel(f"{len(self.stem)} filters", image, f"{len(chosen)} filters of the stem")
        caption = (
            "As colours, from low to high frequency of their mean over the colours; each filter has its own scale."
        )
        return ImageFigure("Filters of the stem", [panel], caption)

    @property
    def methods(self) -> str:
        sentences = [f"Only the weights of {self.settings.model} were used, those of its {self.filters}."]
        if self.measured:
            arrangements = list(dict.fromkeys(each.arrangement for each in self.measured))
            blocks = len(self.measured) // len(arrangements)
            filters = number_range(len(each.maps) for each in self.measured)
            sentences.append(
                f"The statistic of each of {pluralize(blocks, 'block')} is the mean frequency of its filters "
                f"(n = {filters}), which is the mean radial frequency of the Fourier transform without the mean, "
                "weighted by power. It was compared with that of the same weights after "
                f"{pluralize(self.settings.permutations, 'random permutation')} of the positions, the same one for all "
                "filters of a block. P-values are one-sided, and the observed arrangement counts as one of the "
                f"permutations; they were adjusted by Holm's method for all blocks; the level is {ALPHA:g}."
            )
        if len({each.arrangement for each in self.measured}) > 1:
            sentences.append("This was done for the filters as stored, and as arranged for the original images.")
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

    Raises UserError if the weights can't be loaded, or are not of a Mixer, a ConvMixer or a DaViT.
    """
    pretrained = load_pretrained(settings.model)
    model = build_with_weights(pretrained.weights)
    stem, maps, attention = stem_filters(model), mixing_maps(model), channel_attention_maps(model)
    if not maps and not attention:
        raise UserError(
            f"{settings.model} has no filters that this study knows: give --model with a Mixer, a ConvMixer or a DaViT."
        )
    _block_numbers(settings.blocks, len(maps) or len(attention))
    sets = [(name, STORED, values) for name, values in maps.items()]
    notes: tuple[str, ...] = ()
    if (transform := pretrained.preprocess.transform) is not None:
        family, patch = pretrained.weights.family, stem.shape[-1]
        sources = (
            None if family == "davit" else source_positions(transform, height_and_width(model.config.image_size), patch)
        )
        if sources is None:
            notes = (f"The images were permuted ({transform.name}), and the filters can't be arranged accordingly.",)
        else:
            stem = unpermuted(stem, sources[1])
            if isinstance(model, Mixer):  # the kernels of a ConvMixer slide over the permuted patches
                sets += [(name, UNPERMUTED, unpermuted(values, sources[0])) for name, values in maps.items()]
            notes = (
                f'The images of the training were permuted ({transform.name}). The arrangement "{UNPERMUTED}" moves '
                "each weight to the position that its patch or pixel has in the original image.",
            )
    measured = []
    for name, arrangement, values in sets:
        measured.append(smoothness(name, arrangement, values, settings.permutations, settings.seed))
        log(f"{name}, {arrangement}: mean frequency {measured[-1].frequency.mean():.3f}, p = {measured[-1].p:.3g}")
    return FiltersResult(
        settings=settings,
        filters=next(name for kind, name in _FILTERS.items() if isinstance(model, kind)),
        stem=stem,
        measured=tuple(measured),
        attention=attention,
        notes=notes,
        references=tuple(model_references(pretrained.weights.architecture)),
        environment=machine.describe(),
    )


def _block_numbers(blocks: str, count: int) -> list[int]:
    """The numbers in `blocks`, from 1; the first three for "". Raises UserError if one is not in [1, count]."""
    if not blocks:
        return list(range(1, min(DEFAULT_BLOCKS, count) + 1))
    words = [word.strip() for word in blocks.split(",")]
    if not all(word.isdigit() and 1 <= int(word) <= count for word in words):
        raise UserError(
            f"--blocks {blocks} is not valid: give numbers from 1 to {count} with commas, such as 1,{count}."
        )
    return list(map(int, words))


def _spread(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `count` filters, in pairs that are spread evenly."""
    pairs = np.arange((count + 1) // 2)
    chosen = pairs[np.linspace(0, len(pairs) - 1, min(len(pairs), max(most // 2, 1))).astype(int)]
    indices = np.stack([2 * chosen, 2 * chosen + 1], axis=1).ravel()
    return indices[indices < count]


def _maps_panel(each: Smoothness, most: int) -> ImagePanel:
    order = order_with_inverses(each.maps)
    chosen = order[_spread(len(order), most)]
    count = f"{len(chosen)} of {len(order)}" if len(chosen) < len(order) else f"{len(order)}"
    heading = f"{each.block}, {each.arrangement}: {count} filters, mean frequency {each.frequency.mean():.3f}"
    alt = f"{heading}; expected with permuted positions: {each.expected:.3f}"
    return ImagePanel(heading, arranged(symmetric(each.maps[chosen]), _COLUMNS), alt)


def _attention_panel(block: str, maps: np.ndarray) -> ImagePanel:
    colours = sequential(maps / maps.max(axis=(1, 2), keepdims=True))
    return ImagePanel(block, arranged(colours, _ATTENTION_COLUMNS, _ATTENTION_SIDE), f"{block}: maps")
