"""The papers' rows are whole, and every row has its count or the reason why not."""

from collections import Counter

import pytest
import torch

from mixlab.measure.macs import count_macs, count_parameters
from mixlab.zoo.architecture import create_model
from mixlab.zoo.paper import Counted, PaperRow, paper_rows

ROWS = paper_rows()
COUNTED = list({str(row.counted): row.counted for row in ROWS if row.counted}.values())


def test_all_83_rows_are_there() -> None:
    assert Counter(row.printed["table"] for row in ROWS) == {"mlp-mixer": 26, "convmixer": 5, "davit": 52}


def test_every_row_is_counted_or_says_why_not() -> None:
    assert all((row.counted is None) != (row.reason == "") for row in ROWS)


def test_the_papers_own_models_are_all_counted() -> None:
    ours = [row for row in ROWS if row.printed["model"].startswith(("Mixer", "ConvMixer", "DaViT"))]
    assert len(ours) == 14 + 3 + 7
    assert all(row.counted and not row.counted.build.startswith("timm:") for row in ours)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.printed["model"])
def test_a_count_is_of_the_image_size_that_the_paper_prints(row: PaperRow) -> None:
    if row.counted and row.printed["image_px"]:
        assert row.counted.image_size == int(row.printed["image_px"])


def test_counts_are_near_what_the_papers_print() -> None:
    """Papers round (ResNet-50's 25.56 M is printed as 25.0) and some count norms; another size would be far off."""
    for row in ROWS:
        if row.counted:
            for figure, count in (("params_m", row.counted.parameters / 1e6), ("flops_g", row.counted.macs / 1e9)):
                if row.printed[figure]:
                    assert count == pytest.approx(float(row.printed[figure]), rel=0.1), row


def test_a_block_s_core_days_are_all_extrapolated_or_none() -> None:
    marks = {(row.printed["block"], row.printed["core_days_extrapolated"]) for row in ROWS}
    assert len(marks) == len({row.printed["block"] for row in ROWS})


@pytest.mark.long
@pytest.mark.parametrize("counted", COUNTED, ids=lambda counted: f"{counted.build} {counted.image_size} px")
def test_a_row_s_model_built_anew_has_the_counts_of_the_table(counted: Counted) -> None:
    with torch.device("meta"):
        model = create_model(counted.build, **counted.fields)
    assert count_parameters(model) == counted.parameters
    assert count_macs(model, (3, counted.image_size, counted.image_size)) == counted.macs
