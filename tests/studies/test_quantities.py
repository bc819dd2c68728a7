"""Claims about quantities that are derived from scores: relative drops and interactions, and the seeds they need."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from mixlab.files import write_json
from mixlab.stats.paired_t import two_sided_p
from mixlab.stats.sample_size import MAX_REPEATS, repeats_needed
from mixlab.studies.arms_result import Arm, ArmsResult, Quantity, contrast_values, relative_drop
from mixlab.studies.result import Claim, claims_table, contrast_text, study_page
from studies.test_result import arms_result, claim, written

SCORES = {
    "mixer": (60.0, 61.0, 62.0),
    "mixer, permuted": (59.0, 61.0, 61.5),
    "resnet": (70.0, 71.0, 72.0),
    "resnet, permuted": (50.0, 52.0, 51.0),
}


def with_drops(*claims: Claim, **fields: Any) -> ArmsResult:
    result = arms_result(SCORES, *claims, **fields)
    drops = [
        relative_drop(f"drop of {name}", result[name], result[f"{name}, permuted"], chance=10.0)
        for name in ("mixer", "resnet")
    ]
    return replace(result, quantities=tuple(drops))


def claim_about(*contrast: str, **fields: Any) -> Claim:
    return replace(claim("a", "b", **fields), contrast=contrast)


def test_a_drop_is_relative_to_the_accuracy_above_chance():
    mixer, resnet = with_drops().quantities
    assert mixer.values == pytest.approx((2.0, 0.0, 100 * 0.5 / 52))
    assert resnet.values[0] == pytest.approx(100 * 20 / 60)
    assert mixer.unit == "%"


def test_a_drop_of_a_model_at_chance_is_undefined_and_its_claim_not_testable(tmp_path):
    result = arms_result(SCORES, claim_about("drop"))
    drop = relative_drop("drop", result["mixer"], result["resnet"], chance=60.0)
    assert (drop.values, drop.estimate) == ((), None)
    result = replace(result, quantities=(drop,))
    (found,) = result.findings()
    assert (found.verdict, found.difference) == ("not testable at this scale", None)
    assert "not testable at this scale" in study_page(result).html()
    written(result, tmp_path)


def test_a_contrast_has_one_two_or_four_quantities():
    values = [(1.0, 2.0), (0.5, 0.5), (4.0, 6.0), (1.0, 1.0)]
    assert contrast_values(values[:1]) == [1.0, 2.0]
    assert contrast_values(values[:2]) == [0.5, 1.5]
    assert contrast_values(values) == [0.5 - 3.0, 1.5 - 5.0]
    assert contrast_text(("a",)) == "a"
    assert contrast_text(("a", "b")) == "a − b"
    assert contrast_text(("a", "b", "c", "d")) == "(a − b) − (c − d)"


def test_quantities_with_more_repetitions_are_paired_by_the_first_ones():
    assert contrast_values([(3.0, 4.0, 5.0), (1.0, 1.0)]) == [2.0, 3.0]
    assert contrast_values([(), (1.0, 1.0)]) == []


def test_a_difference_of_drops_is_a_difference_in_differences():
    lower = claim_about("drop of mixer", "drop of resnet", expected="lower", unit="%")
    (found,) = with_drops(lower).findings()
    mixer, resnet = with_drops().quantities
    differences = [a - b for a, b in zip(mixer.values, resnet.values, strict=True)]
    assert found.p_holm == two_sided_p(differences)
    assert found.difference is not None
    assert (found.difference.value, found.difference.unit) == (pytest.approx(sum(differences) / 3), "%")
    assert found.verdict == "agrees"


def test_an_interaction_of_arms_is_within_200_points():
    names = ("mixer", "mixer, permuted", "resnet", "resnet, permuted")
    extreme = {name: (0.0, 100.0) if index in (0, 3) else (100.0, 0.0) for index, name in enumerate(names)}
    (found,) = arms_result(extreme, claim_about(*names)).findings()
    assert found.difference is not None
    assert (found.difference.low, found.difference.high) == (-200, 200)


def test_an_unknown_name_in_a_contrast_is_an_error():
    with pytest.raises(ValueError):
        with_drops(claim_about("drop of nobody")).findings()


def test_an_undecided_claim_has_the_seeds_that_would_decide_it():
    undecided = claim_about("mixer, permuted", "mixer", expected="lower")
    (found,) = with_drops(undecided).findings()
    assert found.verdict == "undecided" and found.difference is not None and found.difference.spread is not None
    assert found.needed == repeats_needed(found.difference.value, found.difference.spread, level=0.05)
    table = claims_table([found])
    assert table.rows[0]["needed"] == f"{found.needed}"
    decided = with_drops(claim_about("resnet, permuted", "resnet", expected="lower")).findings()
    assert decided[0].needed is None
    assert "needed" not in [column.key for column in claims_table(decided).columns]


def test_an_equality_needs_the_seeds_with_which_its_interval_is_within_the_margin():
    """A tail of the 95 % interval has half of its error rate."""
    equal = claim_about("mixer", "mixer, permuted", expected="equal", margin=1.0)
    (found,) = with_drops(equal).findings()
    assert found.verdict == "undecided" and found.difference is not None and found.difference.spread is not None
    assert found.needed == repeats_needed(found.difference.value, found.difference.spread, level=0.025, margin=1.0)


def test_with_more_claims_more_seeds_are_needed():
    one = claim_about("mixer, permuted", "mixer", expected="lower")
    (alone,), together = with_drops(one).findings(), with_drops(*[one] * 4).findings()
    assert alone.needed is not None and together[0].needed is not None
    assert together[0].needed > alone.needed


@pytest.mark.parametrize(("spread", "seeds"), [(0.6, 7), (1.3, 30)])
def test_the_seeds_for_equality_within_a_point_are_those_of_the_plan(spread, seeds):
    difference_spread = spread * math.sqrt(2)  # two arms with this spread each
    needed = repeats_needed(0.0, difference_spread, level=0.05, margin=1.0)
    assert needed is not None and abs(needed - seeds) <= 2


def test_a_difference_close_to_zero_needs_more_than_the_maximum():
    assert repeats_needed(1e-6, 1.0, level=0.05) is None
    assert repeats_needed(0.9999, 1.0, level=0.05, margin=1.0) is None
    tiny = {"a": (50.0, 51.0, 49.00001), "b": (50.5, 50.0, 49.5)}
    (found,) = arms_result(tiny, claim("a", "b")).findings()
    assert claims_table([found]).rows[0]["needed"] == f"more than {MAX_REPEATS:,}"


def test_an_equality_with_a_difference_outside_the_margin_needs_the_seeds_that_show_its_distance_from_it():
    scores = {"a": (52.0, 53.2, 54.0), "b": (50.5, 50.0, 49.5)}
    found, _ = arms_result(scores, *[claim("a", "b", "equal", margin=1.5)] * 2).findings()
    assert found.verdict == "undecided" and found.difference is not None and found.difference.spread is not None
    distance = found.difference.value - 1.5
    assert distance > 0
    assert found.needed == repeats_needed(distance, found.difference.spread, level=0.025)


def test_table_and_json_have_the_quantities(tmp_path):
    result = with_drops()
    write_json(tmp_path / "results.json", result.to_dict())
    stored = json.loads((tmp_path / "results.json").read_text())["quantities"]
    assert [(one["name"], one["unit"]) for one in stored] == [("drop of mixer", "%"), ("drop of resnet", "%")]
    assert stored[0]["values"] == pytest.approx(with_drops().quantities[0].values)
    assert "Derived quantities" in [table.title for table in result.tables()]


def test_arms_may_have_different_numbers_of_seeds():
    arms = tuple(
        replace(arm, scores=arm.scores[:2]) if "permuted" in arm.name else arm for arm in arms_result(SCORES).arms
    )
    result = replace(arms_result(SCORES, claim("mixer, permuted", "mixer")), arms=arms)
    assert result.kicker.endswith("2 to 3 seeds")
    (found,) = result.findings()
    assert found.difference is not None and found.difference.n == 2


def test_a_quantity_has_an_interval_within_its_bounds():
    quantity = Quantity("q", (90.0, 99.0), "%", least=0, most=100)
    assert quantity.estimate is not None and quantity.estimate.high == 100
    assert isinstance(arms_result(SCORES)["mixer"], Arm)


def test_equal_drops_have_no_interval_from_rounding_errors():
    scores = {"a": (100 / 3 + 20, 100 / 3 + 22.5), "b": (100 / 3 + 16, 100 / 3 + 18), "c": (0.3, 0.1 + 0.2 + 1)}
    result = arms_result(scores)
    drop = relative_drop("drop", result["a"], result["b"], chance=100 / 3)
    assert drop.values == (20.0, 20.0) and drop.estimate is not None and drop.estimate.low is None
    assert contrast_values([(0.3, 1.3), (0.1 + 0.2, 1.3)]) == [0.0, 0.0]


def test_equal_compute_modes_are_one_fact():
    modes = [{"precision": precision, "layout": "contiguous"} for precision in ("bf16", "bf16", "fp32")]
    same = arms_result(SCORES, plans={"mixer": modes[0], "resnet": modes[1]}).details().html()
    assert "Plan of all trainings" in same and "Plan of mixer" not in same
    other = arms_result(SCORES, plans={"mixer": modes[0], "resnet": modes[2]}).details().html()
    assert "Plan of mixer" in other and "Plan of resnet" in other
