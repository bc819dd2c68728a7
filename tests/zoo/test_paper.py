"""The rows of the papers are complete, and every row has counts or a reason."""

from collections import Counter

import pytest
import torch

from mixlab.measure.macs import count_macs, count_parameters
from mixlab.zoo.architecture import create_model
from mixlab.zoo.paper import Counted, PaperRow, paper_rows

ROWS = paper_rows()
COUNTED = list({str(row.counted): row.counted for row in ROWS if row.counted}.values())


def test_there_are_83_rows() -> None:
    assert Counter(row.printed["table"] for row in ROWS) == {"mlp-mixer": 26, "convmixer": 5, "davit": 52}


def test_every_row_has_counts_or_a_reason() -> None:
    assert all((row.counted is None) != (row.reason == "") for row in ROWS)


def test_all_models_of_the_three_papers_are_counted() -> None:
    rows = [row for row in ROWS if row.printed["model"].startswith(("Mixer", "ConvMixer", "DaViT"))]
    assert len(rows) == 14 + 3 + 7
    assert all(row.counted and not row.counted.build.startswith("timm:") for row in rows)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.printed["model"])
def test_counts_are_for_the_printed_image_size(row: PaperRow) -> None:
    if row.counted and row.printed["image_px"]:
        assert row.counted.image_size == int(row.printed["image_px"])


def test_counts_are_close_to_the_printed_figures() -> None:
    """Papers round (25.56 M for ResNet-50 is printed as 25.0), and some count norms; a wrong size differs by more."""
    for row in ROWS:
        if row.counted:
            for figure, count in (("params_m", row.counted.parameters / 1e6), ("flops_g", row.counted.macs / 1e9)):
                if row.printed[figure]:
                    assert count == pytest.approx(float(row.printed[figure]), rel=0.1), row


def test_every_difference_of_more_than_2_per_cent_has_a_remark() -> None:
    differing = {}
    for row in ROWS:
        if row.counted:
            for figure, count in (("params_m", row.counted.parameters / 1e6), ("flops_g", row.counted.macs / 1e9)):
                if row.printed[figure] and count != pytest.approx(float(row.printed[figure]), rel=0.02):
                    differing[row.printed["model"], figure] = row.remarks[-1]
    name = {"params_m": "our params", "flops_g": "our MACs"}
    assert all(remark.startswith(f"{name[figure]} differ by ") for (_, figure), remark in differing.items())
    assert {model for model, _ in differing} == {
        "ResNet-50",
        "ResNet-152",
        "DeiT-Small/16",
        "CoAtNet-0",
        "CoAtNet-1",
        "CoAtNet-2",
        "CoAtNet-3",
        "CSwin-L",
    }
    assert differing["CoAtNet-0", "flops_g"] == "our MACs differ by +8.3 % from the printed figure"
    assert differing["ResNet-152", "flops_g"] == "our MACs differ by +4.7 % from the printed figure"


def test_a_count_close_to_the_printed_figure_has_no_remark() -> None:
    (swin,) = [row for row in ROWS if row.printed["model"] == "Swin-Tiny"]
    assert swin.remarks == []


def test_the_core_days_of_a_block_are_all_extrapolated_or_all_measured() -> None:
    marks = {(row.printed["block"], row.printed["core_days_extrapolated"]) for row in ROWS}
    assert len(marks) == len({row.printed["block"] for row in ROWS})


def davit_rows(block: str) -> list[tuple[str, float, float, float]]:
    """(model, top-1, millions of parameters, billions of multiply-accumulates) of the rows with all three."""
    printed = [row.printed for row in ROWS if row.printed["table"] == "davit" and row.printed["block"] == block]
    return [
        (row["model"], float(row["top1"]), float(row["params_m"]), float(row["flops_g"]))
        for row in printed
        if row["top1"] and row["params_m"] and row["flops_g"]
    ]


def test_no_model_of_at_most_the_size_of_a_davit_reaches_it_on_imagenet_1k() -> None:
    rows = davit_rows("ImageNet-1k from scratch")
    davits = [row for row in rows if row[0].startswith("DaViT")]
    assert [name for name, *_ in davits] == ["DaViT-Tiny", "DaViT-Small", "DaViT-Base"]
    for davit, top1, parameters, macs in davits:
        smaller = [row for row in rows if row[2] <= parameters and row[0] != davit]
        assert max(row[1] for row in smaller) < top1
        assert min(row[3] for row in smaller) < macs  # its multiply-accumulates are not the fewest


def test_smaller_models_reach_davit_on_imagenet_22k() -> None:
    rows = {name: figures for name, *figures in davit_rows("Pre-trained on ImageNet-22k")}
    for other, davit in (("CSwin-B", "DaViT-Base"), ("CoAtNet-3", "DaViT-Large"), ("CSwin-L", "DaViT-Large")):
        assert rows[other][0] >= rows[davit][0] and rows[other][1] < rows[davit][1]
    assert rows["CSwin-L"][2] < rows["DaViT-Large"][2]


def test_each_paper_has_its_own_unit_of_throughput() -> None:
    units = {(row.printed["table"], row.printed["throughput_unit"]) for row in ROWS}
    assert units == {("mlp-mixer", "images/s/TPUv3-core"), ("convmixer", "images/s, one GPU"), ("davit", "")}


def test_the_davit_table_mixes_image_sizes() -> None:
    davits = [row for row in ROWS if row.printed["table"] == "davit" and row.printed["model"].startswith("DaViT")]
    assert [row.counted and row.counted.image_size for row in davits] == [224, 224, 224, 384, 384, 512, 512]


def test_in_the_imagenet_rows_of_the_mixer_table_vits_are_their_authors_and_costs_are_extrapolated() -> None:
    mixer = [row.printed for row in ROWS if row.printed["table"] == "mlp-mixer" and "JFT" not in row.printed["block"]]
    assert {row["note"] for row in mixer if row["model"].startswith("ViT")} == {"numbers by the ViT authors"}
    assert {row["core_days_extrapolated"] for row in mixer} == {"yes"}


def test_vit_l_16_at_512_px_in_the_mixer_table_is_from_the_paper_on_vit() -> None:
    (row,) = [row.printed for row in ROWS if row.printed["table"] == "mlp-mixer" and row.printed["image_px"] == "512"]
    assert (row["model"], row["note"]) == ("ViT-L/16", "numbers from the ViT paper")


@pytest.mark.long
@pytest.mark.parametrize("counted", COUNTED, ids=lambda counted: f"{counted.build} {counted.image_size} px")
def test_the_counts_of_a_row_are_those_of_its_model(counted: Counted) -> None:
    with torch.device("meta"):
        model = create_model(counted.build, **counted.fields)
    assert count_parameters(model) == counted.parameters
    assert count_macs(model, (3, counted.image_size, counted.image_size)) == counted.macs
