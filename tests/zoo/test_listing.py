"""Human-readable tables contain every printed figure, and machine-readable ones every field."""

import csv
import io
import json
import re

import pytest

from mixlab.report.table import render
from mixlab.zoo.listing import paper_full_table, paper_tables, sizes_full_table, sizes_table
from mixlab.zoo.paper import PaperRow, paper_rows
from mixlab.zoo.sizes import list_sizes

BLOCKS = {table.title: table for table in paper_tables()}
TITLES = {"mlp-mixer": "MLP-Mixer", "convmixer": "ConvMixer", "davit": "DaViT"}
FIGURES = (
    "image_px",
    "epochs",
    "top1",
    "real",
    "avg5",
    "throughput",
    "core_days_k",
    "params_m",
    "flops_g",
    "activation",
)


@pytest.mark.parametrize("row", paper_rows(), ids=lambda row: row.printed["model"])
def test_every_printed_figure_is_in_its_row_or_in_the_note_for_all_rows(row: PaperRow) -> None:
    text = render(BLOCKS[f"{TITLES[row.printed['table']]}: {row.printed['block']}"], "markdown")
    lines = [line for line in text.replace(",", "").splitlines() if f"| {row.printed['model']} " in line]
    notes = re.findall(r"In every row: (.*)\.", text)
    shared = re.findall(r"\d+", notes[0]) if notes else []
    figures = {row.printed[key] for key in FIGURES} - {"", *shared}
    assert any(figures <= {cell.strip() for cell in line.split("|")} for line in lines)


def test_patch_and_kernel_are_in_one_column() -> None:
    rows = {str(row["model"]): row["patch_kernel"] for row in BLOCKS["ConvMixer: ImageNet-1k from scratch"].rows}
    assert (rows["ConvMixer-1536/20"], rows["ResNet-152"], rows["DeiT-B"]) == ("7 / 9", "– / 3", "16 / –")


def test_the_two_units_of_throughput_are_in_separate_tables() -> None:
    heads = [column.head for table in BLOCKS.values() for column in table.columns if column.key == "throughput"]
    assert heads == ["img/s (TPUv3 core)"] * 3 + ["img/s (one GPU)"]


def test_extrapolated_costs_are_marked() -> None:
    heads = [column.head for table in BLOCKS.values() for column in table.columns if column.key == "core_days_k"]
    assert heads == ["TPUv3 core-days ‡ (k)", "TPUv3 core-days ‡ (k)", "TPUv3 core-days (k)"]


def test_core_days_are_in_thousands_as_printed() -> None:
    text = render(BLOCKS["MLP-Mixer: Pre-trained on JFT-300M"], "table")
    (line,) = [line for line in text.splitlines() if "Mixer-H/14" in line]
    assert line.split()[7] == "1.01"


def test_a_remark_is_at_the_row_that_it_is_about() -> None:
    text = render(BLOCKS["MLP-Mixer: Pre-trained on JFT-300M"], "table")
    remarks = {tuple(line.split()[:2]): line.split()[-1] for line in text.splitlines() if "/" in line[:14]}
    assert remarks["Mixer-L/16", "448"] == "1" and remarks["ViT-L/16", "512"] == "2"
    assert remarks["Mixer-L/16", "224"] == remarks["ViT-L/16", "224"] == "–"
    assert "Remark 1: the token MLP is 4 times as wide at 448 px, as in the paper (appendix C)." in text
    assert "Remark 2: numbers from the ViT paper." in text


def test_the_remark_of_a_count_that_differs_is_at_its_row() -> None:
    text = render(BLOCKS["DaViT: ImageNet-1k from scratch"], "table")
    (line,) = [line for line in text.splitlines() if "CoAtNet-0" in line]
    assert f"Remark {line.split()[-1]}: our MACs differ by +8.3 % from the printed figure." in text


def test_missing_figures_are_dashes() -> None:
    text = render(BLOCKS["MLP-Mixer: Pre-trained on JFT-300M"], "table")
    (line,) = [line for line in text.splitlines() if "BiT-R50x1" in line]
    assert line.split()[1:7] == ["224", "7", "73.69", "81.92", "–", "2,159"]


def test_models_that_can_not_be_built_have_a_reason() -> None:
    text = render(BLOCKS["DaViT: ImageNet-1k from scratch"], "table")
    (line,) = [line for line in text.splitlines() if "ViL-Small" in line]
    assert line.split() == ["ViL-Small", "82.0", "24.6", "5.1", "–", "–", "–", "in", "no", "library", "–"]


def test_the_csv_table_has_all_rows_and_the_columns_of_the_source() -> None:
    rows = list(csv.DictReader(io.StringIO(render(paper_full_table(), "csv"))))
    assert len(rows) == 83
    assert (rows[0]["top1"], rows[0]["build"], rows[0]["parameters"]) == ("76.44", "mixer_b16", "59880472")


def test_the_json_table_has_figures_as_numbers() -> None:
    rows = json.loads(render(paper_full_table(), "json"))["rows"]
    assert rows[0]["top1"] == 76.44
    assert rows[0]["params_m"] is None


def test_sizes_are_listed_with_cost_and_reported_accuracy() -> None:
    text = render(sizes_table(list_sizes("mixer_b16")), "table")
    (line,) = [line for line in text.splitlines() if "mixer_b16" in line]
    assert line.split() == ["mixer_b16", "224", "59.88", "12.602", "2105.01601", "76.44", "paper,", "ImageNet-1k"]


def test_sizes_without_a_reported_accuracy_have_dashes() -> None:
    text = render(sizes_table(list_sizes("mixer_nano")), "table")
    (line,) = [line for line in text.splitlines() if "mixer_nano" in line]
    assert line.split()[-2:] == ["–", "–"]


def test_the_json_table_has_the_complete_config() -> None:
    (row,) = json.loads(render(sizes_full_table(list_sizes("mixer_b16")), "json"))["rows"]
    assert json.loads(row["config"])["token_hidden"] == 384
    assert row["macs"] == 12_601_767_936
