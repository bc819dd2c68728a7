"""The papers' rows beside this machine: joined with speeds, reasons, and rank correlations within one unit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from mixlab.benchmark import paper_speeds
from mixlab.benchmark.paper_benchmark import PaperBenchmark, combine
from mixlab.benchmark.paper_page import paper_page
from mixlab.benchmark.paper_speeds import (
    PaperSpeed,
    batch_of,
    measure_models,
    measured_once,
    model_key,
    not_measured,
)
from mixlab.benchmark.paper_tables import block_table, trade_off_figures
from mixlab.errors import UserError
from mixlab.measure.machine import describe, device_name
from mixlab.report.table import render
from mixlab.zoo.paper import Counted, paper_rows

CPU = torch.device("cpu")
ROWS = paper_rows()
MODELS = measured_once(ROWS)
TINY = Counted("mixer_nano", {"depth": 1, "image_size": 32}, 32, 1, 10**9)


def speed(counted: Counted, seconds: float) -> PaperSpeed:
    """A model whose call of one image takes so many seconds."""
    machine = (device_name(CPU), torch.get_num_threads(), torch.__version__)
    times = [seconds * factor for factor in (0.98, 0.99, 1.0, 1.0, 1.01, 1.02)]
    return PaperSpeed(counted.build, counted.fields, 1, "bf16", "channels_last", times, [0.01] * 6, *machine, None)


@pytest.fixture(scope="module")
def result() -> PaperBenchmark:
    """Models as fast as their multiply-accumulates let expect, but for CvT-13, which could not be built."""
    speeds = {model_key(counted): speed(counted, counted.macs / 1e11) for counted in MODELS}
    cvt = next(counted for counted in MODELS if counted.build == "papers:cvt_13")
    return combine(ROWS, {**speeds, model_key(cvt): "transformers is missing"}, describe(CPU))


def test_every_model_is_measured_once_from_the_cheapest_to_the_most_expensive():
    keys = [model_key(counted) for counted in MODELS]
    assert len(set(keys)) == len(keys) == 60
    assert {model_key(row.counted) for row in ROWS if row.counted} == set(keys)
    assert [counted.macs for counted in MODELS] == sorted(counted.macs for counted in MODELS)


def test_calls_have_about_as_many_multiply_accumulates_within_the_limits():
    assert [batch_of(replace(TINY, macs=macs)) for macs in (10**9, 6 * 10**9, 10**11)] == [16, 11, 1]


def test_rows_that_can_not_be_built_or_measured_say_why(result):
    reasons = {row.name: row.reason for row in result.rows if row.speed is None}
    assert reasons["CvT-13"] == "transformers is missing"
    assert reasons["ViL-Small"] == reasons["UFO-ViT-S"] == reasons["Focal-Tiny"] == reasons["CPVT-Base"]
    assert reasons["ViL-Small"] == "in no library" and reasons["T2T-ViT-24"] == "only in mmpretrain"
    assert len(result.measured) == 72 - 1


def test_throughputs_are_correlated_within_a_table_and_a_model_counts_once(result):
    agreement = result.agreement()
    assert set(agreement) == {("mlp-mixer", "throughput"), ("convmixer", "throughput"), ("davit", "flops_g")}
    pairs = {
        (row.name, row.row.printed["image_px"]): (row.printed_speed, row.speed.images_per_second.value)
        for row in result.rows
        if row.table == "mlp-mixer"
    }
    estimate = agreement["mlp-mixer", "throughput"]
    assert estimate.n == len(pairs) == 17
    assert estimate.value == pytest.approx(
        np.corrcoef([rankdata(side) for side in zip(*pairs.values(), strict=True)])[0, 1]
    )
    assert agreement["convmixer", "throughput"].n == 5


def test_a_cost_that_orders_models_like_their_time_agrees(result):
    assert result.agreement()["davit", "flops_g"].value > 0.97


def test_a_table_has_the_unit_of_its_paper(result):
    blocks = result.blocks()
    texts = {table: render(block_table(table, block, rows), "table") for (table, block), rows in blocks.items()}
    assert "paper (images/s/TPUv3-core)" in texts["mlp-mixer"]
    assert "paper (images/s, one GPU)" in texts["convmixer"]
    assert "paper (" not in texts["davit"]


def test_without_any_measurement_the_page_has_the_reasons():
    nothing = combine(ROWS, {model_key(counted): "out of memory" for counted in MODELS}, describe(CPU))
    assert "out of memory" in paper_page(nothing).html()


def test_each_block_with_three_rows_has_three_trade_offs(result):
    figures = trade_off_figures(result)
    assert len(figures) == 6
    assert all(len(figure.panels) == 3 for figure in figures)


def test_the_page_has_every_model(result):
    html = paper_page(result).html()
    assert "71 of the 83 rows" in html
    assert all(row.name.split("/")[0].split("-")[0] in html for row in result.rows)


def test_a_measurement_goes_on_after_the_last_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    models = [replace(TINY, fields={"depth": depth, "image_size": 32}) for depth in (1, 2)]
    measured = []

    def measure(counted: Counted, device: torch.device) -> PaperSpeed:
        measured.append(counted.fields["depth"])
        if measured == [1, 2]:
            raise KeyboardInterrupt
        return speed(counted, 1.0)

    monkeypatch.setattr(paper_speeds, "_measure", measure)
    with pytest.raises(KeyboardInterrupt):
        list(measure_models(models, tmp_path, CPU, lambda message: None))
    assert not_measured(models, tmp_path) == models[1:]
    found = list(measure_models(models, tmp_path, CPU, lambda message: None))
    assert measured == [1, 2, 2]
    assert [counted for counted, _ in found] == models
    assert found[0][1] == speed(models[0], 1.0)


def test_results_of_another_machine_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paper_speeds, "_measure", lambda counted, device: replace(speed(counted, 1.0), torch="0.4"))
    list(measure_models([TINY], tmp_path, CPU, lambda message: None))
    with pytest.raises(UserError, match=r"results of .* torch 0\.4, but .*: give a new folder with --out"):
        list(measure_models([TINY], tmp_path, CPU, lambda message: None))


def test_a_model_without_its_library_gives_the_sentence_as_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def measure(counted: Counted, device: torch.device) -> PaperSpeed:
        raise UserError("birder is missing")

    monkeypatch.setattr(paper_speeds, "_measure", measure)
    assert [speed for _, speed in measure_models([TINY], tmp_path, CPU, lambda message: None)] == ["birder is missing"]
    assert not list(tmp_path.iterdir())


def test_a_model_that_fails_in_its_library_gives_the_error_as_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def measure(counted: Counted, device: torch.device) -> PaperSpeed:
        raise TypeError("unexpected keyword")

    monkeypatch.setattr(paper_speeds, "_measure", measure)
    ((_, reason),) = measure_models([TINY], tmp_path, CPU, lambda message: None)
    assert reason == "TypeError: unexpected keyword"


@pytest.mark.usefixtures("bf16_is_tried")
def test_a_model_is_measured_in_the_faster_mode_beside_a_matrix_product(tmp_path: Path):
    ((_, found),) = measure_models([TINY], tmp_path, CPU, lambda message: None)
    assert isinstance(found, PaperSpeed)
    assert (found.precision, found.layout) in {("fp32", "contiguous"), ("bf16", "channels_last")}
    assert (found.batch, len(found.seconds), len(found.reference_seconds)) == (16, 6, 6)
