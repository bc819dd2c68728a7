"""The numbers of a benchmark, from given seconds per call."""

import json
from dataclasses import replace

import pytest

from mixlab.benchmark.result import ModelBenchmark, Row, Task

MAC = 10**9


def row(name: str, seconds: list[float], precision: str = "fp32", layout: str = "contiguous") -> Row:
    return Row(name, precision, layout, "", seconds, 1000)


def result(*rows: Row, task: Task = "inference") -> ModelBenchmark:
    peaks = {"fp32": 100 * MAC, "bf16": 200 * MAC}
    return ModelBenchmark("mixer", "a CPU", "cpu", task, 8, 2, 2, 1, 3 * MAC, peaks, rows, [])


OURS = row("mixlab", [0.5, 1.0, 0.5, 0.5, 0.5, 0.5], "bf16", "channels_last")
EAGER = row("eager", [2.0] * 6)
COMPILED = row("compiled", [1.0, 2.0, 1.0, 1.0, 1.0, 1.0])
TIMM = row("timm", [0.25, 0.5, 0.25, 0.25, 0.25, 0.25])


def test_the_throughput_is_the_batch_over_the_median_time_of_a_call():
    speed = result(OURS).speed(OURS)
    assert (speed.value, speed.low, speed.high, speed.unit) == (16.0, 8.0, 16.0, "images/s")


def test_latencies_are_percentiles_of_the_time_of_a_call():
    measured = row("mixlab", [float(number) for number in range(101)])
    assert (result(measured).latency(measured, 50), result(measured).latency(measured, 95)) == (50.0, 95.0)


def test_a_training_step_has_three_times_the_multiply_accumulates_of_a_forward_pass():
    assert result(OURS).macs_per_second(OURS) == 16 * 3 * MAC
    assert result(OURS, task="training").macs_per_second(OURS) == 3 * 16 * 3 * MAC


def test_the_fraction_of_the_peak_is_that_of_the_precision_of_the_row():
    assert result(OURS).fraction_of_peak(OURS) == pytest.approx(48 / 200)
    assert result(EAGER).fraction_of_peak(EAGER) == pytest.approx(12 / 100)


def test_the_best_stock_mode_is_the_faster_one_of_eager_and_compiled():
    assert result(OURS, TIMM, EAGER, COMPILED).best_stock == COMPILED
    assert result(OURS, EAGER).best_stock == EAGER
    assert result(OURS, TIMM).best_stock is None


def test_ratios_are_medians_round_by_round_and_none_without_the_peer():
    ratios = result(OURS, TIMM, EAGER, COMPILED).ratios
    assert {name: ratio and ratio.value for name, ratio in ratios.items()} == {"best_stock": 2.0, "timm": 0.5}
    assert result(OURS).ratios == {"best_stock": None, "timm": None}


def test_the_json_has_the_documented_keys():
    stored = json.loads(json.dumps(result(OURS, TIMM, EAGER).to_dict()))
    assert {"model", "device", "rows", "ratios"} <= stored.keys()
    assert stored["ratios"] == {"best_stock": 4.0, "timm": 0.5}
    first = stored["rows"][0]
    documented = ("name", "images_per_second", "low", "high", "precision", "layout", "peak_bytes")
    assert [first[key] for key in documented] == ["mixlab", 16.0, 8.0, 16.0, "bf16", "channels_last", 1000]
    assert first["seconds"] == list(OURS.seconds)


def test_exported_models_are_relative_to_the_best_stock_mode_and_to_mixlab():
    exported = replace(EAGER, name="exported out", seconds=[second / 2 for second in OURS.seconds])
    ratios = result(OURS, EAGER, COMPILED, exported).exported_ratios
    assert ratios.keys() == {"exported out"}
    mixlab, stock = ratios["exported out"]["mixlab"], ratios["exported out"]["best_stock"]
    assert mixlab and mixlab.value == pytest.approx(2)
    assert stock and stock.value > 0
    alone = result(exported)
    assert alone.exported_ratios == {"exported out": {"best_stock": None, "mixlab": None}}
    assert not alone.has_mixlab and alone.ratios == {"best_stock": None, "timm": None}


def test_a_row_in_a_precision_without_peak_has_no_fraction_of_it():
    row = replace(OURS, precision="int8")
    assert result(row).fraction_of_peak(row) is None
