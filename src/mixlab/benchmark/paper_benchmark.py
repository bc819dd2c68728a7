"""The papers' tables beside this machine: speed of every row, and how well the orders agree."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from mixlab.benchmark.paper_speeds import PaperSpeed, model_key
from mixlab.stats.estimate import Estimate
from mixlab.stats.rank_correlation import MIN_PAIRS, rank_correlation
from mixlab.zoo.paper import PaperRow

PAPERS = {"mlp-mixer": "MLP-Mixer", "convmixer": "ConvMixer", "davit": "DaViT"}


@dataclass(frozen=True)
class BenchmarkedRow:
    """A row of a table; `speed` is None if it was not measured, and `reason` says why."""

    row: PaperRow
    speed: PaperSpeed | None
    reason: str

    @property
    def name(self) -> str:
        return self.row.printed["model"]

    @property
    def table(self) -> str:
        return self.row.printed["table"]

    @property
    def printed_speed(self) -> float | None:
        """Images per second as printed, in the unit of the table."""
        return float(text) if (text := self.row.printed["throughput"]) else None


@dataclass(frozen=True)
class PaperBenchmark:
    """All rows of the three tables, in their order. `environment` describes the machine."""

    rows: Sequence[BenchmarkedRow]
    environment: Mapping[str, Any]

    @property
    def measured(self) -> list[BenchmarkedRow]:
        return [row for row in self.rows if row.speed]

    def blocks(self) -> dict[tuple[str, str], list[BenchmarkedRow]]:
        """The rows by table and block: models with the same data of training."""
        blocks = groupby(self.rows, key=lambda row: (row.table, row.row.printed["block"]))
        return {key: list(rows) for key, rows in blocks}

    def agreement(self) -> dict[tuple[str, str], Estimate]:
        """The rank correlation of this machine's throughput with printed figures, by table and figure.

        The throughputs of two tables are never combined, because their units differ. A printed cost in FLOPs is
        compared with the time of an image, so that a positive correlation means agreement, too. A model with the same
        figure in several rows counts once.
        """
        found: dict[tuple[str, str], Estimate] = {}
        for table in PAPERS:
            rows = [row for row in self.measured if row.table == table]
            for figure, sign in (("throughput", 1), ("flops_g", -1)):
                pairs = {
                    (model_key(row.row.counted), row.row.printed[figure]): row.speed.images_per_second.value
                    for row in rows
                    if row.row.printed[figure] and row.row.counted and row.speed
                }
                if len(pairs) >= MIN_PAIRS:
                    printed = [sign * float(text) for _, text in pairs]
                    found[table, figure] = rank_correlation(printed, list(pairs.values()))
        return found

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-serializable values."""
        return {
            "rows": [_row_dict(row) for row in self.rows],
            "agreement": [
                {"table": table, "figure": figure} | asdict(estimate)
                for (table, figure), estimate in self.agreement().items()
            ],
        }


def combine(
    rows: Sequence[PaperRow], speeds: Mapping[str, PaperSpeed | str], environment: Mapping[str, Any]
) -> PaperBenchmark:
    """The benchmark of `rows`; `speeds` has the measured speed, or the reason why there is none, by `model_key`."""
    return PaperBenchmark([_benchmarked(row, speeds) for row in rows], environment)


def _benchmarked(row: PaperRow, speeds: Mapping[str, PaperSpeed | str]) -> BenchmarkedRow:
    if row.counted is None:
        return BenchmarkedRow(row, None, row.reason)
    speed = speeds[model_key(row.counted)]
    return BenchmarkedRow(row, None, speed) if isinstance(speed, str) else BenchmarkedRow(row, speed, "")


def _row_dict(row: BenchmarkedRow) -> dict[str, Any]:
    printed = row.row.printed
    found: dict[str, Any] = {
        "table": row.table,
        "block": printed["block"],
        "model": row.name,
        "top1": float(printed["top1"]),
        "printed_throughput": row.printed_speed,
        "printed_unit": printed["throughput_unit"] or None,
        "reason": row.reason or None,
    }
    if row.speed and row.row.counted:
        speed = row.speed.images_per_second
        found |= {"images_per_second": speed.value, "low": speed.low, "high": speed.high}
        found |= {"parameters": row.row.counted.parameters, "macs": row.row.counted.macs}
        found |= asdict(row.speed)
    return found
