"""Tables and figures of the papers' models on this machine."""

from collections.abc import Sequence
from statistics import median

from mixlab.benchmark.paper_benchmark import PAPERS, BenchmarkedRow, PaperBenchmark
from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.scatter import Point, scatter_panel
from mixlab.report.table import Column, Table
from mixlab.report.text import pluralize
from mixlab.speed.plan import mode_name

KINDS = ("mlp", "convolution", "attention", "hybrid")

_FIGURES = {"throughput": "printed throughput", "flops_g": "printed FLOPs"}
_UNITS = {"mlp-mixer": "images/s/TPUv3-core", "convmixer": "images/s, one GPU"}
_MIN_POINTS = 3
_LABELLED = ("Mixer", "ConvMixer", "DaViT")
"""The families of the papers."""

TOP1 = Axis("Top-1 of the paper", "%")
THROUGHPUT = Axis("throughput on this machine", "images/s", better="higher")
PARAMETERS = Axis("parameters", "M", better="lower")
COST = Axis("multiply-accumulates of an image", "G", better="lower")


def block_table(table: str, block: str, rows: Sequence[BenchmarkedRow]) -> Table:
    """The rows of one block, with this machine's throughput beside that of the paper."""
    printed = any(row.printed_speed for row in rows)
    return Table(
        f"{PAPERS[table]}: {block}",
        [
            Column("model", "model"),
            Column("image_size", "image", "px"),
            Column("top1", "top-1", "%", digits=2 if table == "mlp-mixer" else 1),
            *([Column("printed", "paper", _UNITS[table], digits=0)] if printed else []),
            Column("measured", "this machine", "images/s", uncertainty="interval"),
            Column("mode", "mode"),
            Column("batch", "batch"),
            Column("parameters", "params", "M", digits=1),
            Column("macs", "MACs", "G", digits=1),
            *([Column("reason", "not measured")] if any(row.reason for row in rows) else []),
        ],
        [
            {
                "model": row.name,
                "image_size": row.row.counted and row.row.counted.image_size,
                "top1": float(row.row.printed["top1"]),
                "printed": row.printed_speed,
                "measured": row.speed and row.speed.images_per_second,
                "mode": row.speed and mode_name(row.speed.precision, row.speed.layout),
                "batch": row.speed and row.speed.batch,
                "parameters": row.row.counted and row.row.counted.parameters / 1e6,
                "macs": row.row.counted and row.row.counted.macs / 1e9,
                "reason": row.reason or None,
            }
            for row in rows
        ],
    )


def agreement_table(result: PaperBenchmark) -> Table:
    """The rank correlations with the printed figures."""
    return Table(
        "Agreement of the orders",
        [
            Column("table", "table"),
            Column("figure", "this machine's throughput against"),
            Column("correlation", "Spearman's ρ", digits=2, uncertainty="interval"),
            Column("n", "models"),
        ],
        [
            {"table": PAPERS[table], "figure": _FIGURES[figure], "correlation": estimate, "n": estimate.n}
            for (table, figure), estimate in result.agreement().items()
        ],
        notes=[
            "95 % intervals of Bonett and Wright (2000). A model that is in several rows counts once.",
            "Throughput is per TPUv3 core in the MLP-Mixer paper and per GPU in the ConvMixer paper; the two are never "
            "combined. The DaViT paper prints no throughput.",
            "Printed FLOPs are compared with the time of an image: 1 is perfect agreement.",
        ],
    )


def trade_off_figures(result: PaperBenchmark) -> list[Figure]:
    """For each block with at least 3 measured rows, accuracy against throughput, parameters and cost."""
    return [
        _trade_off(f"{PAPERS[table]}: {block}", measured)
        for (table, block), rows in result.blocks().items()
        if len(measured := [row for row in rows if row.speed]) >= _MIN_POINTS
    ]


def _trade_off(title: str, rows: Sequence[BenchmarkedRow]) -> Figure:
    def points(axis: Axis) -> list[Point]:
        return [
            Point(
                row.name,
                row.row.printed["kind"],
                _value(row, axis),
                float(row.row.printed["top1"]),
                is_labelled=row.name.startswith(_LABELLED),
            )
            for row in rows
        ]

    panels = [scatter_panel(points(axis), axis, TOP1, KINDS) for axis in (THROUGHPUT, PARAMETERS, COST)]
    return Figure(
        title,
        panels,
        "Accuracy as printed; throughput measured here; parameters and multiply-accumulates counted by mixlab.",
    )


def _value(row: BenchmarkedRow, axis: Axis) -> float:
    assert row.speed and row.row.counted
    return {
        THROUGHPUT: row.speed.images_per_second.value,
        PARAMETERS: row.row.counted.parameters / 1e6,
        COST: row.row.counted.macs / 1e9,
    }[axis]


def conditions(result: PaperBenchmark) -> list[str]:
    """Sentences about the measurement; none if no model could be measured."""
    speeds = [row.speed for row in result.measured if row.speed]
    if not speeds:
        return []
    reference = [median(speed.reference_seconds) for speed in speeds]
    fastest, slowest = (1e3 * pick(reference) for pick in (min, max))
    first = speeds[0]
    return [
        f"{first.device}, {pluralize(first.threads, 'thread')}, torch {first.torch}. Each model in the faster one of "
        "fp32, contiguous and bf16 (fp32 on a processor without kernels for bf16), channels last; "
        f"{len(first.seconds)} timed calls with about 64 G multiply-accumulates each, at most 16 images.",
        "The models were not measured at the same time. A fixed matrix product beside each of them took "
        f"{fastest:.1f} to {slowest:.1f} ms.",
    ]
