"""Estimates with intervals in the documentation are those of the result pages that their section links."""

import json
import re
from pathlib import Path

import pytest
from scipy.stats import ttest_ind

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("studies.md", "common_claims.md", "compare.md")

_NUMBER = r"[−-]?\d[\d,]*(?:\.\d+)?"
_ESTIMATE = re.compile(rf"({_NUMBER}) \[({_NUMBER}), ({_NUMBER})\]|({_NUMBER}) ± ({_NUMBER})")


def estimates(text: str) -> set[tuple[str, ...]]:
    """The numbers of each "estimate [low, high]" and "mean ± standard deviation", as printed."""
    return {tuple(part for part in match.groups() if part) for match in _ESTIMATE.finditer(" ".join(text.split()))}


def value(printed: str) -> float:
    return float(printed.replace("−", "-").replace(",", ""))


def is_rounded(printed: str, found: str) -> bool:
    """Whether two numbers are equal in the decimals that both have."""
    decimals = min(len(number.partition(".")[2]) for number in (printed, found))
    return abs(value(printed) - value(found)) <= 0.5 * 10**-decimals + 1e-9


def is_of(printed: tuple[str, ...], found: tuple[str, ...]) -> bool:
    """Whether a printed estimate is one of a page, or this with the opposite sign."""
    if len(printed) != len(found):
        return False
    opposite = (found[0], found[2], found[1]) if len(found) == 3 else found
    negated = tuple(number.removeprefix("−") if number.startswith("−") else f"−{number}" for number in opposite)
    return any(all(map(is_rounded, printed, each)) for each in (found, negated))


def sections() -> list[tuple[str, str]]:
    """The sections with links to results, with their pages and headings."""
    return [
        (f"{page}: {section.partition(chr(10))[0]}", section)
        for page in PAGES
        for section in re.split(r"^#+ ", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
        if "](results/" in section
    ]


@pytest.mark.parametrize("section", [text for _, text in sections()], ids=[name for name, _ in sections()])
def test_estimates_of_a_section_are_those_of_the_linked_results(section: str) -> None:
    linked = set(re.findall(r"\]\(((?:results/[\w-]+|recipes)\.md)", section))
    results = {each for page in linked for each in estimates((DOCS / page).read_text(encoding="utf-8"))}
    unknown = [each for each in estimates(section) if not any(is_of(each, found) for found in results)]
    assert not unknown


def test_an_estimate_may_be_rounded_or_have_the_opposite_sign() -> None:
    (found,) = estimates("| a | −3.14 [−4.00, 1.26] |")
    assert is_of(("3.1", "−1.3", "4.0"), found) and is_of(("−3", "−4", "1"), found)
    assert not is_of(("3.2", "−1.3", "4.0"), found) and not is_of(("3.1", "4.0"), found)


def test_the_interval_of_the_spoken_digits_has_the_spread_of_both_splits() -> None:
    arms = json.loads((DOCS / "results" / "spoken-digits" / "results.json").read_text(encoding="utf-8"))["arms"]
    scores = {arm["name"]: arm["scores"] for arm in arms}
    welch = ttest_ind(scores["resnet_nano, official split"], scores["resnet_nano, unseen speakers"], equal_var=False)
    low, high = welch.confidence_interval()
    assert f"is {low:.1f} to {high:.1f} in place" in (DOCS / "studies.md").read_text(encoding="utf-8")
