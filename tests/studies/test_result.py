"""Claims and their verdicts, and the page and JSON of a study that compares arms."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from mixlab.report.table import Column, render
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.stats.paired import holm
from mixlab.stats.paired_t import margin_p, two_sided_p
from mixlab.studies.arms_result import Arm, ArmsResult
from mixlab.studies.result import Claim, Finding, StudyResult, claims_table, study_page, verdict_counts
from mixlab.studies.stored_result import SCHEMA, write_result

Expected = Literal["higher", "lower", "equal"]

ENVIRONMENT: dict[str, Any] = {
    "device": "a test processor, 2 cores",
    "device_type": "cpu",
    "processor": "a test processor",
    "cores": 2,
    "threads": 1,
    "memory_bytes": 8 * 2**30,
    "system": "Linux",
    "versions": {"python": "3.11.7", "mixlab": "0.1.0", "torch": "2.15.0"},
    "commit": "0123456789abcdef",
}
PLAN = {"device": "cpu", "precision": "bf16", "layout": "channels_last", "micro_batch": 8}


@dataclass(frozen=True)
class Settings:
    seeds: int = 3


def written(result: StudyResult, folder: Path) -> dict[str, Any]:
    """The content of results.json."""
    write_result(folder / "found", result, command="mixlab study toy", seconds=90.0, data={})
    return json.loads((folder / "found" / "results.json").read_text(encoding="utf-8"))


def claim(a: str, b: str, expected: Expected = "higher", **fields: Any) -> Claim:
    return Claim(
        statement=f"{a} is compared with {b}.",
        contrast=(a, b),
        expected=expected,
        source="A paper, section 3",
        regime="small images here",
        **fields,
    )


def finding(expected: Expected, low: float | None, high: float | None, p: float, **fields: Any) -> Finding:
    value = 0.0 if low is None or high is None else (low + high) / 2
    return Finding(claim("a", "b", expected, **fields), Estimate(value, low, high, n=3, unit="points"), p)


def arms_result(scores: dict[str, tuple[float, ...]], *claims: Claim, **fields: Any) -> ArmsResult:
    arms = tuple(
        Arm(name, of_arm, mean_interval(of_arm, "%"), {"macs": 2.5}, {"size": 8}) for name, of_arm in scores.items()
    )
    given = {"title": "Which one?", "command": "mixlab study which", "data": "digits", "settings": Settings()}
    return ArmsResult(**given | {"arms": arms, "claims": claims, "environment": ENVIRONMENT} | fields)


SCORES = {
    "plain": (50.0, 51.0, 52.0),
    "better": (60.0, 61.1, 62.2),
    "as good": (50.1, 50.9, 52.05),
    "worse": (40.0, 41.2, 42.1),
    "unsteady": (40.0, 61.0, 72.0),
}


@pytest.mark.parametrize(
    ("expected", "low", "high", "p", "verdict"),
    [
        ("higher", 1.0, 3.0, 0.01, "agrees"),
        ("higher", -3.0, -1.0, 0.01, "disagrees"),
        ("higher", 1.0, 3.0, 0.05, "undecided"),  # the interval excludes 0, but the adjusted p value is not significant
        ("higher", -1.0, 3.0, 0.4, "undecided"),
        ("lower", -3.0, -1.0, 0.01, "agrees"),
        ("lower", 1.0, 3.0, 0.01, "disagrees"),
        ("lower", -3.0, 1.0, 0.4, "undecided"),
    ],
)
def test_a_directional_claim_is_decided_by_p_and_the_sign(expected, low, high, p, verdict):
    assert finding(expected, low, high, p).verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (-1.0, 1.5, 0.01, "agrees"),
        (0.5, 1.5, 0.01, "agrees"),  # a difference can be significant but small
        (-1.0, 3.0, 0.2, "undecided"),
        (1.0, 3.0, 0.2, "undecided"),
        (2.5, 3.0, 0.01, "disagrees"),
        (-3.0, -2.5, 0.01, "disagrees"),
        (2.5, 3.0, 0.06, "undecided"),  # the interval is outside, but the adjusted p value is not significant
        (-1.0, 1.5, 0.06, "undecided"),  # the interval is within the margin, likewise
    ],
)
def test_a_claim_of_equality_is_decided_by_the_margin(low, high, p, verdict):
    assert finding("equal", low, high, p, margin=2.0).verdict == verdict


def test_a_claim_is_not_testable_if_the_study_is_too_small():
    assert finding("higher", 1.0, 3.0, 0.01, testable=False).verdict == "not testable at this scale"
    for expected in ("higher", "lower", "equal"):
        assert finding(expected, None, None, 1.0, margin=1.0).verdict == "not testable at this scale"


def test_differences_are_paired_by_repetition():
    result = arms_result(SCORES)
    difference = result["better"].difference(result["plain"])
    assert result["better"].minus(result["plain"]) == pytest.approx([10.0, 10.1, 10.2])
    assert (difference.n, difference.unit) == (3, "points")
    assert difference.value == pytest.approx(10.1)
    assert difference.spread == pytest.approx(0.1)


def test_an_arm_is_selected_by_its_exact_name():
    assert arms_result(SCORES)["worse"].scores == SCORES["worse"]
    with pytest.raises(ValueError):
        arms_result(SCORES)["nobody"]


def test_p_values_are_adjusted_for_all_claims_of_the_study():
    contrasts = [("better", "plain"), ("worse", "plain"), ("unsteady", "plain")]
    result = arms_result(SCORES, *(claim(a, b) for a, b in contrasts))
    alone = [two_sided_p(result[a].minus(result[b])) for a, b in contrasts]
    findings = result.findings()
    assert [one.p_holm for one in findings] == holm(alone)
    assert findings[0].p_holm is not None
    assert findings[0].p_holm > alone[0]
    assert [one.verdict for one in findings] == ["agrees", "disagrees", "undecided"]
    assert [one.difference for one in findings] == [result[a].difference(result[b]) for a, b in contrasts]


def test_more_claims_need_smaller_p_values():
    scores = {"plain": (50.0, 51.0, 52.0), "ahead": (51.0, 52.5, 53.2)}
    one = claim("ahead", "plain")
    assert 0.01 < two_sided_p([1.0, 1.5, 1.2]) < 0.05
    assert [found.verdict for found in arms_result(scores, one).findings()] == ["agrees"]
    assert {found.verdict for found in arms_result(scores, *[one] * 5).findings()} == {"undecided"}


def test_a_claim_of_equality_has_the_p_value_of_the_nearer_end_of_the_margin():
    equal = claim("as good", "plain", "equal", margin=1.0)
    result = arms_result(SCORES, equal, replace(equal, contrast=("better", "plain")))
    differences = [result[name].minus(result["plain"]) for name in ("as good", "better")]
    findings = result.findings()
    assert [one.p_holm for one in findings] == holm([margin_p(one, 1.0) for one in differences])
    assert [one.verdict for one in findings] == ["agrees", "disagrees"]
    (narrow,) = arms_result(SCORES, replace(equal, margin=0.01)).findings()
    assert narrow.verdict == "undecided"


def test_more_claims_of_equality_need_smaller_p_values_for_either_verdict():
    scores = {"plain": (50.0, 51.0, 52.0), "near": (50.1, 51.3, 51.9), "far": (53.0, 55.0, 56.2)}
    claims = [claim(name, "plain", "equal", margin=1.0) for name in ("near", "far")]
    assert [
        0.01 < margin_p([b - a for a, b in zip(scores["plain"], scores[name], strict=True)], 1.0) < 0.05
        for name in ("near", "far")
    ] == [True, True]
    alone = [arms_result(scores, one).findings()[0].verdict for one in claims]
    assert alone == ["agrees", "disagrees"]
    assert {found.verdict for found in arms_result(scores, *claims * 3).findings()} == {"undecided"}


def test_equal_differences_are_not_testable():
    scores = {"a": (50.0, 51.0), "b": (40.0, 41.0)}
    (found,) = arms_result(scores, claim("a", "b")).findings()
    assert found.difference is not None and (found.p_holm, found.difference.low) == (1.0, None)
    assert found.verdict == "not testable at this scale"


def test_two_seeds_have_differences_of_at_most_100_points_and_a_note():
    result = arms_result({"a": (60.0, 70.0), "b": (98.0, 45.0)}, pairs=(("a", "b"),), claims=(claim("a", "b"),))
    difference = result["a"].difference(result["b"])
    assert (difference.value, difference.low, difference.high) == (-6.5, -100, 100)
    for table in result.tables():
        assert "With 2 seeds, the intervals are unreliable: give --seeds 3 or more." in table.notes
    assert "unreliable" in study_page(result).html()
    assert not any("unreliable" in note for table in arms_result(SCORES).tables() for note in table.notes)


def test_equal_values_without_an_interval_have_a_note():
    result = arms_result({"a": (50.0, 50.0, 50.0), "b": (40.0, 40.5, 41.0)}, pairs=(("a", "b"),))
    arms, differences = result.tables()
    note = "Without interval: all 3 seeds have the same value, so they are too few to estimate one."
    assert note in arms.notes and note not in differences.notes
    (_, differences) = arms_result({"a": (50.0, 51.0, 52.0), "b": (40.0, 41.0, 42.0)}, pairs=(("a", "b"),)).tables()
    assert note in differences.notes


def test_the_page_shows_notes_on_the_evaluated_images():
    assert "Left out: 3 of 10 images." in study_page(arms_result(SCORES), ("Left out: 3 of 10 images.",)).html()


CLAIMS = (
    claim("better", "plain"),
    claim("worse", "plain"),
    claim("as good", "plain", "equal", margin=1.0),
    claim("unsteady", "plain", "lower", testable=False),
)
FIELDS: dict[str, Any] = {
    "pairs": (("better", "worse"), ("better", "plain")),
    "columns": (Column("macs", "MACs", "M", digits=1),),
    "notes": ("A note on the arms.",),
    "facts": {"Evaluated in": "fp32"},
    "recipes": {"all": {"model": "mixer_nano", "optimizer": {"learning_rate": 0.002}}},
    "plans": {"all": PLAN},
}


def test_the_page_shows_the_result():
    html = study_page(arms_result(SCORES, *CLAIMS, **FIELDS)).html()
    assert "Which one?" in html
    assert "mixlab study which: digits, 3 seeds" in html
    assert "4 claims: 2 agree, 1 disagrees, 1 not testable at this scale." in html
    assert re.findall(r"<h2>([^<]*)</h2>", html) == ["Claims", "Results", "Run details"]
    assert html.count("A paper, section 3: small images here") == 1
    assert "Top-1 of each arm" in html and "<svg" in html
    assert "A note on the arms." in html
    assert "bf16, channels_last" in html and "a test processor" in html
    assert "learning_rate = 0.002" in html


def test_the_page_of_a_study_without_claims_has_a_note():
    html = study_page(arms_result(SCORES)).html()
    assert "The study has no claims." in html
    assert re.findall(r"<h2>([^<]*)</h2>", html) == ["Results", "Run details"]
    assert "Differences" not in html


def test_the_table_of_claims_has_contrast_p_value_and_verdict():
    result = arms_result(SCORES, *CLAIMS)
    rows = json.loads(render(claims_table(result.findings()), "json"))
    rows = rows["rows"] if isinstance(rows, dict) else rows
    assert [row["verdict"] for row in rows] == [
        "agrees",
        "disagrees",
        "agrees",
        "not testable at this scale",
    ]
    assert rows[0]["contrast"] == "better − plain"
    assert [row["p"] for row in rows] == pytest.approx([one.p_holm for one in result.findings()])


def test_the_tables_have_every_arm_and_every_pair():
    result = arms_result(SCORES, *CLAIMS, **FIELDS)
    arms, differences = (render(table, "markdown") for table in result.tables())
    assert all(name in arms for name in SCORES)
    assert "MACs (M)" in arms and "51.0 ± 1.0 (n = 3)" in arms
    assert "± is the standard deviation over seeds." in arms
    assert differences.count("| better") == 2 and "20.00" in differences
    assert len(arms_result(SCORES).tables()) == 1


def test_the_json_has_scores_pairs_and_findings(tmp_path):
    result = arms_result(SCORES, *CLAIMS, **FIELDS)
    stored = written(result, tmp_path)
    assert (stored["schema"], stored["data"], stored["settings"]) == (SCHEMA, "digits", {"seeds": 3})
    assert (stored["environment"], stored["plans"]) == (ENVIRONMENT, {"all": PLAN})
    assert (stored["methods"], stored["bibtex"]) == (result.methods, result.bibtex)
    assert stored["recipes"]["all"]["optimizer"] == {"learning_rate": 0.002}
    assert {arm["name"]: tuple(arm["scores"]) for arm in stored["arms"]} == SCORES
    assert stored["arms"][0]["top1"]["value"] == 51.0 and stored["arms"][0]["size"] == 8
    assert [(pair["a"], pair["b"]) for pair in stored["pairs"]] == [
        ("better", "worse"),
        ("better", "plain"),  # also the contrast of a claim, but listed once
        ("worse", "plain"),
        ("as good", "plain"),
        ("unsteady", "plain"),
    ]
    findings = stored["findings"]
    assert [one["verdict"] for one in findings] == [one.verdict for one in result.findings()]
    assert findings[0]["claim"]["contrast"] == ["better", "plain"]
    assert findings[0]["p_holm"] == result.findings()[0].p_holm
    assert findings[2]["claim"]["margin"] == 1.0


def test_the_study_names_its_repetitions():
    result = arms_result(SCORES, repeats="class splits", top1_interval="class splits")
    assert result.kicker == "mixlab study which: digits, 3 class splits"
    assert "± is the standard deviation over class splits." in render(result.tables()[0], "markdown")
    html = study_page(result).html().replace("\N{NO-BREAK SPACE}", " ")
    assert "means over class splits, lines 95 % intervals over class splits" in html


def test_the_numbers_of_verdicts_are_grammatical():
    assert verdict_counts(["undecided", "agrees", "disagrees", "agrees"]) == "2 agree, 1 disagrees, 1 undecided"
