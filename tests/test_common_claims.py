"""The page of common claims: its verdicts, its evidence, and its numbers."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, stdev

import pytest

from mixlab.cli.study import study_names
from mixlab.training.recipes.recipe_files import read_recipe
from mixlab.zoo.architecture import architecture
from mixlab.zoo.paper import paper_rows
from mixlab.zoo.sizes import find_size

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "common_claims.md").read_text(encoding="utf-8")
VERDICTS = {"True", "False", "True with a condition", "Undecided", "Not reproducible here"}
TABLES = {"mlp-mixer": "MLP-Mixer", "convmixer": "ConvMixer", "davit": "DaViT"}
BLOCKS = {
    "Pre-trained on ImageNet (with extra regularization)": "ImageNet",
    "Pre-trained on ImageNet-21k (with extra regularization)": "ImageNet-21k",
    "Pre-trained on JFT-300M": "JFT-300M",
    "ImageNet-1k from scratch": "ImageNet-1k",
    "Pre-trained on ImageNet-22k": "ImageNet-22k",
}
COLUMNS = ("image_px", "epochs", "top1", "params_m", "flops_g", "throughput")
OTHER_SOURCES = {
    "87.94": "Tolstikhin et al. 2021, table 2",
    "84.15": "Tolstikhin et al. 2021, table 2",
    "69.8": "arXiv:2503.08939, abstract",
}
"""Numbers of papers that are in no table of the package. The citation is on the page."""


@dataclass(frozen=True)
class CommonClaim:
    statement: str
    verdict: str
    reason: str
    evidence: str


def common_claims() -> list[CommonClaim]:
    """Each paragraph with a bold sentence and a verdict in italics, and the paragraph of evidence after it."""
    paragraphs = [" ".join(text.split()) for text in PAGE.split("\n\n")]
    claims = []
    for paragraph, following in zip(paragraphs, [*paragraphs[1:], ""], strict=True):
        if paragraph.startswith("**"):
            parts = re.fullmatch(r"\*\*([^*]+\.)\*\* \*([^*]+)\.\* (.+)", paragraph)
            assert parts and following.startswith("Evidence: "), paragraph
            claims.append(CommonClaim(parts[1], parts[2], parts[3], following.removeprefix("Evidence: ")))
    return claims


def cited_rows() -> list[list[str]]:
    """The cells of the table of printed figures."""
    section = PAGE.partition("## Cited rows")[2]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[1:]]


CLAIMS = common_claims()
each_claim = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.statement[:60])


def decimals(text: str) -> set[str]:
    """The decimal numbers of a text, without those of citations."""
    return set(re.findall(r"(?<![\w.:])\d+\.\d+(?![\w.])", re.sub(r"\]\([^)]*\)|section \S+", "", text)))


def test_every_theme_has_claims() -> None:
    themes = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:-1]
    assert [theme.partition("\n")[0] for theme in themes] == [
        "Mixer",
        "ConvMixer",
        "DaViT",
        "Masks, texts and sounds",
        "Comparisons and tables",
    ]
    assert all(theme.count("\n**") >= 5 for theme in themes)
    assert len({claim.statement for claim in CLAIMS}) == len(CLAIMS) == PAGE.count("\n\nEvidence: ")


@each_claim
def test_a_claim_has_a_verdict_and_evidence(claim: CommonClaim) -> None:
    assert claim.verdict in VERDICTS
    is_test = "](../tests/" in claim.evidence
    is_study = "`mixlab study " in claim.evidence
    is_result = "](results/" in claim.evidence and is_study
    is_citation = re.search(r"\b20\d\d, (section|table|appendix|abstract|\[arXiv)", claim.evidence)
    assert is_study or is_citation if claim.verdict == "Undecided" else is_test or is_result or is_citation


@each_claim
def test_the_tests_of_a_claim_exist(claim: CommonClaim) -> None:
    linked = re.findall(r"\[`(\w+)`\]\((\.\./tests/[^)]+)\)", claim.evidence)
    assert len(linked) == claim.evidence.count("../tests/")
    for name, path in linked:
        tree = ast.parse((DOCS / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name.startswith("test_")


@each_claim
def test_the_studies_of_a_claim_exist(claim: CommonClaim) -> None:
    assert set(re.findall(r"`mixlab study ([\w-]+)", claim.evidence)) <= set(study_names())


def test_cited_rows_are_rows_of_the_papers() -> None:
    rows = [row.printed for row in paper_rows()]
    printed = [
        [TABLES[row["table"]], row["model"], BLOCKS.get(row["block"], ""), *(row[column] or "–" for column in COLUMNS)]
        for row in rows
    ]
    assert len(cited_rows()) >= 15
    for cells in cited_rows():
        assert cells in printed


@each_claim
def test_numbers_of_a_claim_are_those_of_the_named_models_or_have_another_source(claim: CommonClaim) -> None:
    named = {
        number
        for cells in cited_rows()
        if re.search(rf"(?<![\w-]){re.escape(cells[1])}(?![\w/])", claim.reason)
        for number in cells[5:8]
    }
    numbers = decimals(claim.statement + claim.reason) - {number for number in OTHER_SOURCES if number in claim.reason}
    if "rows below" in claim.evidence:
        numbers -= named
    for page in re.findall(r"\]\((results/[\w-]+\.md)\)", claim.evidence):
        numbers -= decimals((DOCS / page).read_text(encoding="utf-8"))
    known = set(computed_numbers()) | set(OTHER_SOURCES)
    assert numbers <= known, numbers - known


@cache
def computed_numbers() -> dict[str, float]:
    """Numbers of the page that are computed from the package, as printed there."""
    top1 = {(row.printed["model"], row.printed["block"]): row.printed["top1"] for row in paper_rows()}
    scratch = "Pre-trained on ImageNet (with extra regularization)"
    widened = architecture("mixer_b16", image_size=448, token_hidden=4 * 384).macs
    return {
        "3.2": float(top1["ViT-B/16", scratch]) - float(top1["Mixer-B/16", scratch]),
        "12.6": find_size("mixer_b16").macs / 1e9,
        "50.4": architecture("mixer_b16", image_size=448).macs / 1e9,
        "5.32": widened / find_size("mixer_b16").macs,
        "20.7": find_size("convmixer_768_32").macs / 1e9,
        "0.25": find_size("mixer_nano").parameters / 1e6,
        "74.4": mean(accuracies_of_mixer_nano()),
        "0.8": stdev(accuracies_of_mixer_nano()),
    }


def accuracies_of_mixer_nano() -> list[float]:
    """The accuracy of each seed on CIFAR-10, from the page of the recipes."""
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    ((n, *found),) = re.findall(r"n = (\d) seeds: ([\d.]+), ([\d.]+) and ([\d.]+) %", text)
    assert int(n) == len(found)
    return list(map(float, found))


def test_computed_numbers_are_printed_rounded() -> None:
    for printed, value in computed_numbers().items():
        assert f"{value:.{len(printed.partition('.')[2])}f}" == printed
        assert printed in decimals(PAGE)


def test_the_command_that_answers_the_question_about_kan_mixers_is_a_recipe() -> None:
    (claim,) = [claim for claim in CLAIMS if "KAN-Mixers" in claim.statement]
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    ((name, epochs),) = re.findall(r"^mixlab train (\w+) --data cifar10 --set epochs=(\d+) ", text, re.MULTILINE)
    recipe = read_recipe(name)
    assert (recipe["model"], recipe["data"]) == ("mixer_nano", "cifar10")
    assert recipe["augmentation"] == {"flip": True, "pad_crop": 4}
    assert f"after {epochs} epochs of flips and shifts" in claim.reason
    assert mean(accuracies_of_mixer_nano()) > 69.8
