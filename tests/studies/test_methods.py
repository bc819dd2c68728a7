"""The methods paragraph and the BibTeX entries of a study."""

from dataclasses import replace

from report.test_references import entry_keys
from studies.test_result import ENVIRONMENT, SCORES, arms_result, claim, written


def test_the_methods_paragraph_has_n_tests_margins_and_device():
    equal = claim("as good", "plain", "equal", margin=1.5)
    result = arms_result(SCORES, claim("better", "plain"), equal, protocol="Each arm was trained.")
    assert result.methods.startswith("Each arm was trained. Intervals are 95 % intervals of Student's t over seeds")
    assert "1 claim of a direction was tested with two-sided t tests" in result.methods
    assert "(n = 3)" in result.methods
    assert "from the nearer end of a margin of 1.5 points that was fixed in advance" in result.methods
    tests = "(n = 3): within the margin, these are the two one-sided tests of equivalence (TOST) with an alpha of 0.025"
    assert f"{tests} each." in result.methods
    assert "Holm's method for all 2 claims; the level is 0.05" in result.methods
    assert result.methods.endswith(
        "mixlab 0.1.0 (commit 0123456789ab) and PyTorch 2.15.0 on a test processor, 2 cores."
    )


def test_without_claims_no_test_is_named():
    assert "this test split" in arms_result(SCORES).methods and "t test" not in arms_result(SCORES).methods


def test_a_single_claim_needs_no_adjustment():
    result = arms_result(SCORES, claim("better", "plain"))
    assert "(n = 3). The level is 0.05. All results" in result.methods
    assert "holm" not in entry_keys(result.bibtex)


def test_bibtex_has_what_was_used_once():
    equal = claim("as good", "plain", "equal", margin=1.0)
    text = arms_result(SCORES, claim("better", "plain"), equal, references=("mixer", "cifar10", "mixer")).bibtex
    assert entry_keys(text) == ["mixlab", "pytorch", "mixer", "cifar10", "student", "schuirmann", "holm"]
    assert text.count("{") == text.count("}")


def test_page_and_json_have_methods_and_bibtex(tmp_path):
    result = replace(arms_result(SCORES, claim("better", "plain")), protocol="Each arm was trained.")
    assert "Each arm was trained." in result.details().html() and "@article{student," in result.details().html()
    assert written(result, tmp_path)["methods"] == result.methods
    assert ENVIRONMENT["device"] in result.methods
