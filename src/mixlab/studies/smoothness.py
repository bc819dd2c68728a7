"""The smoothness of the filters of a block, compared with that of permuted positions: numbers, claim and table.

Axes:  unit         one filter
       row, column  positions
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixlab.report.table import Cell, Column, Table
from mixlab.stats.estimate import TAIL, Estimate
from mixlab.studies.filter_maps import Maps, frequencies, permuted_frequencies, radial_frequencies, smoothness_p
from mixlab.studies.model_filters import PositionFilters
from mixlab.studies.result import Claim

_UNIT = "periods per position"


@dataclass(frozen=True)
class Smoothness:
    """The filters of one block in one arrangement, and their smoothness.

    kind       "token-mixing units" or "depthwise kernels"
    block      or a layer of it, see `PositionFilters`
    maps       unit, row and column
    frequency  of each map, in periods per position
    expected   the mean frequency over all arrangements of the positions
    null_range  the central 95 % of the mean frequency over the random permutations
    p          the p-value that the maps are smoother than with permuted positions
    """

    kind: str
    block: str
    arrangement: str
    maps: Maps
    frequency: np.ndarray
    expected: float
    null_range: tuple[float, float]
    p: float

    @property
    def difference(self) -> Estimate:
        """The mean frequency minus the expected one, with the spread of the random permutations."""
        mean, (low, high) = float(self.frequency.mean()), self.null_range
        return Estimate(mean - self.expected, mean - high, mean - low, n=len(self.maps), unit=_UNIT)


def smoothness(filters: PositionFilters, arrangement: str, permutations: int, seed: int) -> Smoothness:
    """Compare filters with `permutations` random permutations of their positions."""
    maps = filters.maps
    permuted = permuted_frequencies(maps, permutations, seed)
    positions = radial_frequencies(*maps.shape[1:])
    expected = float(positions.sum() / (positions.size - 1))
    low, high = np.quantile(permuted, (TAIL, 1 - TAIL)).tolist()
    p = smoothness_p(maps, permuted)
    return Smoothness(filters.kind, filters.block, arrangement, maps, frequencies(maps), expected, (low, high), p)


def smoothness_claim(kind: str, block: str) -> Claim:
    return Claim(
        statement=f"The {kind} of {block} are smoother than with permuted positions.",
        contrast=(f"mean frequency of {block}", "expected with permuted positions"),
        expected="lower",
        source="Tolstikhin et al. 2021, appendix D",
        regime="the source shows the first three blocks of large Mixers that were pre-trained on JFT-300M",
        unit=_UNIT,
    )


def smoothness_table(
    title: str, measured: Sequence[Smoothness], p_holm: Sequence[float], notes: Sequence[str]
) -> Table:
    """A row for every block and arrangement."""
    rows: list[dict[str, Cell]] = [
        {
            "block": each.block,
            "arrangement": each.arrangement,
            "units": len(each.maps),
            "positions": f"{each.maps.shape[1]} x {each.maps.shape[2]}",
            "frequency": float(each.frequency.mean()),
            "expected": each.expected,
            "p": each.p,
            "p_holm": adjusted,
        }
        for each, adjusted in zip(measured, p_holm, strict=True)
    ]
    columns = [
        Column("block", "block"),
        Column("arrangement", "arrangement"),
        Column("units", "filters"),
        Column("positions", "positions"),
        Column("frequency", "mean frequency", "periods per position", digits=4),
        Column("expected", "expected if permuted", digits=4),
        Column("p", "p", digits=4),
        Column("p_holm", "p (Holm)", digits=4),
    ]
    own_notes = [
        "The frequency of a filter is the mean radial frequency of its Fourier transform without the mean, weighted by "
        "power; the statistic is its mean over the filters of a block. All filters of a block are permuted alike.",
        "The brackets of a difference in the claims are not a confidence interval: they are the differences to the "
        "central 95 % of the random permutations.",
    ]
    return Table(title, columns, rows, [*own_notes, *notes])
