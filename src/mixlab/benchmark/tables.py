"""Tables and figures of a benchmark."""

from collections.abc import Mapping, Sequence

from mixlab.benchmark.result import ModelBenchmark
from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import dot_plot
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.speed.plan import mode_name

_TITLES = {"inference": "Inference", "training": "Training"}
_STEP = "a training step is a forward pass, cross-entropy, a backward pass and AdamW, on random images"
_PASS = "a call is a forward pass of a batch of random images"

_MEMORY = {
    "cpu": "peak of a process that prepares and runs this peer alone, with its libraries, conversion and compilation.",
    "cuda": "peak of the tensors of a process that runs this peer alone.",
}

SPEED = Axis("Throughput", "images/s", better="higher")


def model_table(result: ModelBenchmark) -> Table:
    """The rows of one model."""
    milliseconds = 1e3
    return Table(
        f"{_TITLES[result.task]} of {result.model}, batch {result.batch}",
        [
            Column("name", "peer"),
            Column("images_per_second", "throughput", "images/s", uncertainty="interval"),
            Column("latency_p50", "p50", "ms"),
            Column("latency_p95", "p95", "ms"),
            Column("precision", "precision"),
            Column("layout", "layout"),
            Column("peak_mebibytes", "memory", "MiB"),
            Column("gmacs_per_second", "G MACs/s"),
            Column("percent_of_peak", "of peak", "%", digits=0),
            *([Column("details", "plan")] if any(row.details for row in result.rows) else []),
        ],
        [
            {
                "name": row.name,
                "images_per_second": result.speed(row),
                "latency_p50": milliseconds * result.latency(row, 50),
                "latency_p95": milliseconds * result.latency(row, 95),
                "precision": row.precision,
                "layout": row.layout.replace("_", " "),
                "peak_mebibytes": None if row.peak_bytes is None else round(row.peak_bytes / 2**20),
                "gmacs_per_second": result.macs_per_second(row) / 1e9,
                "percent_of_peak": None if (fraction := result.fraction_of_peak(row)) is None else 100 * fraction,
                "details": row.details or None,
            }
            for row in result.rows
        ],
        notes=[*_notes(result), *result.notes],
        models=[row.name for row in result.rows],
    )


def flat_table(results: Sequence[ModelBenchmark]) -> Table:
    """The rows of all models in one table, for CSV."""
    tables = [model_table(result) for result in results]
    columns = {column.key: column for table in tables for column in table.columns}
    rows: list[Mapping[str, Cell]] = [
        {"model": result.model, "task": result.task, "batch": result.batch, **row}
        for result, table in zip(results, tables, strict=True)
        for row in table.rows
    ]
    first = [Column("model", "model"), Column("task", "task"), Column("batch", "batch")]
    return Table("Speed of models and peers", [*first, *columns.values()], rows)


def _notes(result: ModelBenchmark) -> list[str]:
    rounds = len(result.rows[0].seconds)
    peaks = ", ".join(f"{precision} {peak / 1e9:,.0f}" for precision, peak in result.peaks.items()) or "not measured"
    return [
        f"{result.device}, {pluralize(result.threads, 'thread')}; {_STEP if result.task == 'training' else _PASS}. "
        f"{result.warmup} calls of each peer are not timed, then the peers take turns for {rounds} rounds.",
        "Throughput: median over the rounds, with its 95 % interval. p50 and p95: percentiles of the time of a call. "
        f"Memory: {_MEMORY.get(result.device_type, _MEMORY['cpu'])}",
        f"Peak: the fastest matrix product on this machine, G MACs/s: {peaks}.",
    ]


def ratios_table(results: Sequence[ModelBenchmark]) -> Table:
    """mixlab's speed relative to stock PyTorch and timm, for all models."""
    return Table(
        "Speed of mixlab relative to peers",
        [
            Column("model", "model"),
            Column("task", "task"),
            Column("batch", "batch"),
            Column("best_stock", "best stock PyTorch", digits=2, uncertainty="interval"),
            Column("stock_form", "its form"),
            Column("timm", "timm", digits=2, uncertainty="interval"),
        ],
        [_ratio_cells(result) for result in results],
        notes=["Median of the ratios round by round, with its 95 % interval; above 1, mixlab is faster."],
    )


def exported_table(results: Sequence[ModelBenchmark]) -> Table:
    """The speed of exported models relative to PyTorch and to mixlab."""
    return Table(
        "Speed of exported models",
        [
            Column("exported", "exported model"),
            Column("precision", "precision"),
            Column("batch", "batch"),
            Column("best_stock", "relative to the best stock PyTorch", digits=2, uncertainty="interval"),
            Column("mixlab", "relative to mixlab", digits=2, uncertainty="interval"),
        ],
        [
            {
                "exported": row.name,
                "precision": row.precision,
                "batch": result.batch,
                **result.exported_ratios[row.name],
            }
            for result in results
            for row in result.rows
            if row.name in result.exported_ratios
        ],
        notes=["Median of the ratios round by round, with its 95 % interval; above 1, the exported model is faster."],
    )


def ratio_tables(results: Sequence[ModelBenchmark]) -> list[Table]:
    """The tables of ratios that have rows."""
    tables = [ratios_table(own)] if (own := [one for one in results if one.has_mixlab]) else []
    return [*tables, exported_table(results)] if any(one.exported_ratios for one in results) else tables


def _ratio_cells(result: ModelBenchmark) -> Mapping[str, Cell]:
    stock = result.best_stock
    return {
        "model": result.model,
        "task": result.task,
        "batch": result.batch,
        **result.ratios,
        "stock_form": stock and f"{stock.name}, {mode_name(stock.precision, stock.layout)}",
    }


def speed_figure(result: ModelBenchmark) -> Figure:
    """The throughput of each peer, with one small marker per round."""
    names = [row.name for row in result.rows]
    speeds = {row.name: [result.batch / seconds for seconds in row.seconds] for row in result.rows}
    return dot_plot(
        f"{result.model}, {result.task}, batch {result.batch}",
        speeds,
        {row.name: result.speed(row) for row in result.rows},
        SPEED,
        models=names,
        caption="Median with its 95 % interval, and one small marker per round.",
    )
