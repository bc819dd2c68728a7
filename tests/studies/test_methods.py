"""The methods paragraph and the BibTeX entries of a study."""

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from mixlab.studies.methods import bibtex, data_references, model_references
from mixlab.zoo.architecture import Architecture
from studies.test_result import ENVIRONMENT, SCORES, arms_result, claim, written


def entry_keys(text: str) -> list[str]:
    """The keys of BibTeX entries."""
    return re.findall(r"^@\w+\{(\w+),$", text, flags=re.MULTILINE)


def test_the_methods_paragraph_has_n_tests_margins_and_device():
    equal = claim("as good", "plain", "equal", margin=1.5)
    result = arms_result(SCORES, claim("better", "plain"), equal, protocol="Each arm was trained.")
    assert result.methods.startswith("Each arm was trained. Intervals are 95 % intervals of Student's t over seeds")
    assert "1 claim of a direction was tested with two-sided t tests" in result.methods
    assert "(n = 3)" in result.methods
    assert "from the nearer end of a margin of 1.5 points that was fixed in advance" in result.methods
    assert "(n = 3): within the margin, this is the test of equivalence at half the level." in result.methods
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


def test_every_entry_has_author_title_and_year():
    text = (files("mixlab") / "studies" / "references.bib").read_text(encoding="utf-8")
    keys = entry_keys(text)
    entries = bibtex(keys).split("\n\n")[1:]
    assert len(entries) == len(set(keys)) == text.count("@") > 20
    for entry in entries:
        assert all(
            re.search(rf"^  {field} = {{.+}},?$", entry, flags=re.MULTILINE) for field in ("author", "title", "year")
        )


def test_the_papers_of_the_citation_file_are_those_of_the_entries():
    citation = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text(encoding="utf-8"))
    for key, reference in zip(("mixer", "convmixer", "davit"), citation["references"], strict=True):
        authors = " and ".join(f"{one['family-names']}, {one['given-names']}" for one in reference["authors"])
        title, url = reference["title"], reference["url"]
        plain = bibtex([key]).replace("{MLP", "MLP").replace("Mixer}", "Mixer").replace("MLP}", "MLP")
        plain = plain.replace("{DaViT}", "DaViT")
        for field, value in {"author": authors, "title": title, "year": reference["year"], "url": url}.items():
            assert f"  {field} = {{{value}}}" in plain


@pytest.mark.parametrize(
    ("family", "name", "keys"),
    [
        ("mixer", "", ["mixer"]),
        ("timm", "cifar_resnet", ["resnet", "timm"]),
        ("timm", "plain_vit", ["vit", "timm"]),
        ("variant:attention_mixer", "", ["mixer"]),
        ("variant:ablated_davit", "", ["davit"]),
        ("variant:ablated_convmixer", "", ["convmixer"]),
        ("variant:metaformer", "", ["metaformer"]),
        ("py:mine.py:Mine", "", []),
        ("py:mine.py:my_mixer", "", []),
    ],
)
def test_a_model_has_the_references_of_its_family(family, name, keys):
    assert model_references(Architecture("", family, {"name": name} if name else {})) == keys


def test_a_folder_has_no_reference():
    assert (data_references("cifar10:/data"), data_references("folder:pets")) == (["cifar10"], [])


def test_page_and_json_have_methods_and_bibtex(tmp_path):
    result = replace(arms_result(SCORES, claim("better", "plain")), protocol="Each arm was trained.")
    assert "Each arm was trained." in result.details().html() and "@article{student," in result.details().html()
    assert written(result, tmp_path)["methods"] == result.methods
    assert ENVIRONMENT["device"] in result.methods
