"""The result of a benchmark: the speed of a model in the fastest form of each peer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from mixlab.measure.timing import speed_ratio
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import median_interval

_CONDITIONS = ("model", "device", "device_type", "task", "batch", "threads", "warmup", "parameters", "macs")

Task = Literal["inference", "training"]

STOCK = ("eager", "compiled")

_MACS_PER_STEP = {"inference": 1, "training": 3}
"""Forward passes that have as many multiply-accumulates: the two gradients of a layer cost one each."""


@dataclass(frozen=True)
class Row:
    """A peer in its fastest form.

    name        "mixlab", one of `mixlab.benchmark.peers.PEERS`, or "exported" and the folder of an exported model
    layout      of the images and kernels in memory
    details     other properties of mixlab's plan, empty for stock forms
    seconds     per call, one for each round; the rounds are those of the other rows
    peak_bytes  peak memory of a process that prepares and runs this form alone; on a GPU, of its tensors; None if not
                measured
    """

    name: str
    precision: str
    layout: str
    details: str
    seconds: Sequence[float]
    peak_bytes: int | None


@dataclass(frozen=True)
class ModelBenchmark:
    """The rows of a model.

    device       as text
    device_type  such as "cpu" or "cuda"
    task         "inference": a forward pass; "training": a step with AdamW
    batch        images per call
    threads      CPU threads
    warmup       untimed calls of each form before the rounds
    macs         multiply-accumulates of one forward pass of one image
    peaks        multiply-accumulates per second of this machine's fastest matrix product, by precision, where measured
    notes        sentences about peers without a row
    """

    model: str
    device: str
    device_type: str
    task: Task
    batch: int
    threads: int
    warmup: int
    parameters: int
    macs: int
    peaks: Mapping[str, float]
    rows: Sequence[Row]
    notes: Sequence[str]

    def speed(self, row: Row) -> Estimate:
        """Images per second: the median over the rounds, with a 95 % interval."""
        return median_interval([self.batch / seconds for seconds in row.seconds], "images/s")

    def latency(self, row: Row, percentile: float) -> float:
        """A percentile of the seconds of a call."""
        return float(np.percentile(row.seconds, percentile))

    def macs_per_second(self, row: Row) -> float:
        """Multiply-accumulates per second, with three times those of a forward pass in a training step."""
        return _MACS_PER_STEP[self.task] * self.macs * self.speed(row).value

    def fraction_of_peak(self, row: Row) -> float | None:
        """`macs_per_second` as a fraction of the peak in the precision of the row; None without this peak."""
        return self.macs_per_second(row) / self.peaks[row.precision] if row.precision in self.peaks else None

    @cached_property
    def best_stock(self) -> Row | None:
        """The fastest row of stock PyTorch."""
        return min(
            (row for row in self.rows if row.name in STOCK), key=lambda row: np.median(row.seconds), default=None
        )

    @property
    def has_mixlab(self) -> bool:
        """Whether mixlab's own plan was measured, and not only an exported model."""
        return self._row("mixlab") is not None

    @property
    def ratios(self) -> dict[str, Estimate | None]:
        """mixlab's speed relative to that of the best stock mode and to timm's; None without such a row."""
        return {name: _ratio(self._row("mixlab"), of) for name, of in self._references(["timm"]).items()}

    @property
    def exported_ratios(self) -> dict[str, dict[str, Estimate | None]]:
        """The speed of each exported model relative to the best stock mode and to mixlab; None without such a row."""
        references = self._references(["mixlab"])
        return {
            row.name: {name: _ratio(row, of) for name, of in references.items()}
            for row in self.rows
            if row.name.startswith("exported ")
        }

    def _references(self, names: Sequence[str]) -> dict[str, Row | None]:
        return {"best_stock": self.best_stock, **{name: self._row(name) for name in names}}

    def _row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-serializable values."""
        return {
            **{key: getattr(self, key) for key in _CONDITIONS},
            "rows": [self._row_dict(row) for row in self.rows],
            "ratios": {name: ratio and ratio.value for name, ratio in self.ratios.items()},
            "ratio_intervals": {name: ratio and [ratio.low, ratio.high] for name, ratio in self.ratios.items()},
            "exported_ratios": {
                row: {name: ratio and [ratio.value, ratio.low, ratio.high] for name, ratio in ratios.items()}
                for row, ratios in self.exported_ratios.items()
            },
            "peak_macs_per_second": dict(self.peaks),
            "notes": list(self.notes),
        }

    def _row_dict(self, row: Row) -> dict[str, Any]:
        speed = self.speed(row)
        return {
            "name": row.name,
            "images_per_second": speed.value,
            "low": speed.low,
            "high": speed.high,
            "precision": row.precision,
            "layout": row.layout,
            "peak_bytes": row.peak_bytes,
            "details": row.details,
            "spread": speed.spread,
            "latency_p50": self.latency(row, 50),
            "latency_p95": self.latency(row, 95),
            "macs_per_second": self.macs_per_second(row),
            "fraction_of_peak": self.fraction_of_peak(row),
            "seconds": list(row.seconds),
        }


def _ratio(row: Row | None, of: Row | None) -> Estimate | None:
    """The speed of a row relative to another one."""
    return speed_ratio(row.seconds, of=of.seconds) if row and of else None
