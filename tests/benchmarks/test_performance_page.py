"""The page about performance counts measured numbers as results, and states for each goal whether it is reached."""

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "performance_page.py"))


def test_the_page_is_generated_from_the_results():
    page = SCRIPT["page"](ROOT / "benchmarks" / "results")
    assert (ROOT / "docs" / "performance.md").read_text(encoding="utf-8") == page


def test_losses_come_before_the_numbers(tmp_path):
    machine = {"device": "a CPU", "threads": 2}
    ratio = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 6, "unit": "", "spread": 0.1}
    files = {
        "2026-01-01-old": {"machine": machine, "claims": [{"claim": "a, speed ratio", "value": ratio, "goal": 0.97}]},
        "2026-01-02-new": {
            "device": "a GPU",
            "claims": [
                {"claim": "2 x is reached", "value": ratio | {"value": 2.5}, "goal": 2},
                {"claim": "3 x is missed", "value": 2.75, "goal": 3},
                {"claim": "small is reached", "value": 0.5, "at_most": 1.3},
                {"claim": "small is missed", "value": 1.5, "at_most": 1.3},
            ],
        },
        "2026-01-03-other": {"simulations": 10, "best_seconds": 0.5},
        "2026-01-04-numbers": {"device": "a CPU", "claims": [{"claim": "b, batch 4", "value": 0.75}]},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"date": name[:10]} | content))
    page = SCRIPT["page"](tmp_path)
    losses, numbers = page.split("## Numbers\n")
    missed, slower = losses.split("## Slower than the alternative, without a goal")
    assert "**3 of 5 goals**" in missed and "**1 of 1 ratio**" in slower
    assert all(text in missed for text in ("3 x is missed", "small is missed", "a, speed ratio", "0.90 [0.80, 0.95]"))
    assert "b, batch 4" in slower
    assert "2 x is reached" not in losses and "2 x is reached" in numbers
    assert "≤ 1.3" in numbers and "≥ 2" in numbers
    assert page.index("## New") < page.index("## Old") < page.index("2026-01-03-other.json")


def test_the_overview_has_the_newest_ratio_of_each_model(tmp_path):
    for date, model, value in (("2026-01-01", "a", 1.25), ("2026-01-02", "a", 1.5), ("2026-01-01", "b", 0.75)):
        text = f"{model}, 2,000 photographs, mixlab predict, later jobs: images/s / those of x"
        content = {"date": date, "device": "a CPU", "claims": [{"claim": text, "value": value}]}
        (tmp_path / f"{date}-{model}.json").write_text(json.dumps(content))
    overview = SCRIPT["page"](tmp_path).split("## Missed goals")[0]
    assert re.search(r"\| a +\| – +\| – +\| +1\.50 \|", overview) and "1.25" not in overview
    assert re.search(r"\| b +\| – +\| – +\| +0\.75 \|", overview)


def test_only_claims_are_numbers_on_the_page(tmp_path):
    """A goal, or a ratio among the samples, is not a result."""
    content = {
        "date": "2026-01-01",
        "device": "a CPU",
        "goal": 0.5,
        "goals": [{"images": "500 x 375", "ratio": 1.5}],
        "claims": [{"claim": "measured", "value": 2.25, "goal": 1.5}],
        "results": [
            {"speed_ratios": {"other": {"value": 9.9, "low": 9, "high": 10, "n": 9, "unit": ""}}, "ratio": 8.8}
        ],
    }
    (tmp_path / "2026-01-01-feeding.json").write_text(json.dumps(content))
    page = SCRIPT["page"](tmp_path)
    assert "**Numbers and goals**" in page and "2.25" in page
    assert not any(number in page for number in ("| 1.50", "0.50", "9.90", "8.80"))


def test_goals_and_minimums_of_trainings_are_on_the_page(tmp_path):
    row = {
        "name": "mixlab",
        "images_per_second": 2.0,
        "low": 1.9,
        "high": 2.1,
        "precision": "bf16",
        "seconds": [1.0] * 6,
    }
    row |= {"layout": "contiguous", "peak_bytes": 2**20, "fraction_of_peak": 0.5}
    stock = [row | {"name": "eager", "peak_bytes": 2**19}, row | {"name": "compiled", "images_per_second": 1.0}]
    result = {"model": "a", "task": "training", "batch": 4, "rows": [row, *stock]}
    result |= {"ratios": {"best_stock": 2.2, "timm": None}, "ratio_intervals": {"best_stock": [2, 2.4], "timm": None}}
    content = {"kind": "benchmark", "date": "2026-01-01", "machine": {"device": "a CPU", "threads": 2}}
    content |= {"results": [result], "goals": {"a": 2.5}, "minimums": {"a": 2}}
    (tmp_path / "2026-01-01-training.json").write_text(json.dumps(content))
    page = SCRIPT["page"](tmp_path)
    assert "**2 of 3 goals**" in page
    assert re.search(r"peak memory of mixlab / the fastest mode of stock PyTorch +\| +2\.00 +\| ≤ 1 +\| \*\*no", page)
    assert all(text in page for text in ("a, training, batch 4, bf16: images/s", "≥ 2.5 | **no**", "≥ 2   | yes"))


@pytest.mark.parametrize(("p", "text", "goal"), [(0.45, "p of a difference", 0.05), (None, "equal for all seeds", 0.5)])
def test_the_page_states_whether_accuracies_are_equivalent(p, text, goal):
    plan = {"precision": "bf16", "layout": "channels_last", "rewrites": {"names": ["native_gelu"]}}
    content = {"kind": "same learning", "date": "2026-01-01", "recipe": "short", "plan": plan, "margin": 0.5}
    content |= {"top1": {"off": [90.0, 91.0]}, "difference": {"value": 0.0}, "equivalence_p": p}
    (claim,) = SCRIPT["claims_of"](Path("a.json"), content)
    assert claim.text.startswith("short, 2 seeds, top-1 under the plan (bf16, channels last, native_gelu)")
    assert text in claim.text and claim.goal == goal and claim.is_reached == (p is None)
