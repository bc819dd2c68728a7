"""A page with every type of block, and names that need escaping or wide characters."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from mixlab.report.axes import Axis
from mixlab.report.confusion import confusion_matrix
from mixlab.report.curves import learning_curves
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import dot_plot, forest_plot, pair_forest_plot
from mixlab.report.image_grid import ConfidentError, ErrorGallery
from mixlab.report.legend import Legend
from mixlab.report.page import Code, Columns, Details, KeyValues, Metric, Page, Section, Summary
from mixlab.report.table import Column, Table
from mixlab.report.tradeoff import trade_off
from mixlab.stats.estimate import Estimate

MODELS = ["mixer", "고양이 <&> $x$", "いぬ"]
ACCURACY = Axis("Top-1", "%", "higher", digits=1)


@pytest.fixture
def models() -> list[str]:
    return MODELS


@pytest.fixture
def top1() -> dict[str, Estimate]:
    values = [97.4, 98.2, 96.1]
    return {
        name: Estimate(value, value - 0.6, value + 0.6, n=3, unit="%", spread=0.3)
        for name, value in zip(MODELS, values, strict=True)
    }


@pytest.fixture
def table(top1: dict[str, Estimate]) -> Table:
    columns = [Column("model", "Model"), Column("top1", "Top-1", "%", digits=1), Column("parameters", "Parameters")]
    rows = [{"model": name, "top1": top1[name], "parameters": 188_426} for name in MODELS]
    return Table(
        "Accuracy", columns, [*rows, {"model": "majority class"}], notes=["The last row is a baseline."], models=MODELS
    )


@pytest.fixture
def figures(top1: dict[str, Estimate]) -> list[Figure]:
    """One figure of each type."""
    epochs = list(range(1, 6))
    curves = {name: [(epochs, [20.0, 50, 80, 90, 95 + seed]) for seed in range(3)] for name in MODELS}
    costs = {
        Axis("Throughput", "images/s", "higher"): {
            name: Estimate(value, value * 0.9, value * 1.1, n=9, unit="images/s")
            for name, value in zip(MODELS, [900.0, 12_000.0, 3_000.0], strict=True)
        },
        Axis("Parameters", "", "lower"): {name: Estimate.exact(188_426, "") for name in MODELS},
    }
    seeds = {name: [estimate.value - 0.3, estimate.value + 0.3] for name, estimate in top1.items()}
    pairs = {
        (MODELS[1], MODELS[0]): Estimate(0.8, 0.2, 1.4, n=3, unit="points"),
        (MODELS[0], MODELS[2]): Estimate(0.3, -0.4, 1.0, n=3, unit="points"),
    }
    baselines = {
        "near": Estimate(96.0, 94.0, 97.5, n=510, unit="%"),
        "majority class": Estimate(10.2, 7.8, 13.1, n=510, unit="%"),
    }
    many = 9 * np.eye(40, dtype=int)
    many[3, 7] = 4
    return [
        learning_curves("Learning", curves, models=MODELS, x=Axis("Epoch"), y=ACCURACY),
        trade_off("Cost", top1, ACCURACY, costs, models=MODELS),
        dot_plot("Seeds", seeds, top1, ACCURACY, models=MODELS, baselines=baselines),
        pair_forest_plot(
            "Pairs", pairs, Axis("Difference", "points", digits=1), significant=[(MODELS[1], MODELS[0])], detectable=0.7
        ),
        forest_plot("Classes", top1, ACCURACY),
        confusion_matrix("Few", csr_array([[5, 1, 0], [0, 6, 0], [2, 0, 4]]), MODELS),
        confusion_matrix("Many", csr_array(many), [f"kind {index}" for index in range(40)]),
    ]


@pytest.fixture
def page(table: Table, figures: list[Figure], top1: dict[str, Estimate]) -> Page:
    tiny = np.zeros((8, 8, 3), np.uint8)
    large = np.full((300, 500, 3), 200, np.uint8)
    images = [
        ConfidentError(tiny, "a/1.png", "3", "8", 0.999),
        ConfidentError(large, "사진/2.jpg", MODELS[1], "いぬ", 0.9),
    ]
    wide = replace(table, columns=[*table.columns, *(Column(f"c{index}", "Another column") for index in range(20))])
    return Page(
        title="Which of <three> & why",
        kicker="a demonstration",
        summary=Summary("One is best.", "By 0.8 points.", [Metric("Top-1", top1["mixer"], 1)]),
        sections=[
            Section("Accuracy", ["Run `make demo`.", wide, Columns(figures[:2])]),
            Section("More", figures[2:]),
            Section(
                "Images",
                [
                    Legend("Colours", [(name, (128, 0, 64)) for name in MODELS * 9]),
                    ErrorGallery("Wrong", images, "True, then predicted."),
                ],
            ),
            Section("What ran", [KeyValues({"Commit": "1a2b3c"}), Details("Recipe", [Code('model = "<mixer>"')])]),
        ],
        footer="Written by a test.",
    )
