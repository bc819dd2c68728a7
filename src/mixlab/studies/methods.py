"""The methods paragraph of a study, and the references of its tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from mixlab.data.dataset import Dataset
from mixlab.report.machine import software_sentence
from mixlab.report.numbers import duration
from mixlab.report.text import join_words, number_range, pluralize
from mixlab.studies.result import ALPHA, Finding, margin_text
from mixlab.training.training import Training


def trainings_text(seconds: Sequence[float], concurrent: int) -> str:
    """How many trainings there are, and how long they took together.

    seconds     of each training
    concurrent  trainings at the same time
    """
    together = f", {concurrent} at the same time" if concurrent > 1 else ""
    return f"{pluralize(len(seconds), 'training')} of {duration(sum(seconds))} in total{together}"


def trainings_protocol(trainings: Mapping[str, Sequence[Training]], dataset: Dataset) -> str:
    """Sentences about the trainings of every arm."""
    every = [training for of_arm in trainings.values() for training in of_arm]
    repeats = number_range(map(len, trainings.values()))
    steps = number_range(training.steps for training in every)
    samples = number_range(len(training.job.dataset.splits["train"]) for training in every)
    several = len(trainings) > 1
    arms = f"Each of {len(trainings)} arms" if several else "The model"
    paired = "; repetition i of every arm has the same seed" if several else ""
    return (
        f"{arms} was trained {repeats} times, for {steps} steps on {samples} training {dataset.noun}s of "
        f"{dataset.name}{paired}. The weights of the last step were evaluated in fp32 on the "
        f"{len(dataset.splits['test']):,} test {dataset.noun}s, without selection."
    )


def run_note(recipe: Mapping[str, Any]) -> str:
    """How a run was trained: model, data, images of a class and transform if they are given, duration and seed."""
    duration = pluralize(recipe["steps"], "step") if "steps" in recipe else pluralize(recipe["epochs"], "epoch")
    per_class = recipe.get("subset", {}).get("per_class")
    parts = [
        f"{recipe['model']} on {recipe['data']}",
        *([f"{per_class:,} images of each class"] if per_class else []),
        *([recipe["transform"]["name"].replace("_", " ")] if "transform" in recipe else []),
    ]
    return ", ".join([*parts, duration, f"seed {recipe['seed']}"])


def tests_paragraph(
    findings: Sequence[Finding], repeats: str, top1_interval: str, environment: Mapping[str, Any]
) -> str:
    """Sentences about intervals, tests, margins, adjustment, device and versions.

    repeats        what the tests are over, in the plural: "seeds"
    top1_interval  what the intervals of accuracies are over: `repeats`, or "seeds and test images"
    environment    the result of `machine.describe`
    """
    if top1_interval == repeats:
        intervals = f"Intervals are 95 % intervals of Student's t over {repeats}; they hold for this test split."
    else:
        intervals = (
            f"Intervals of accuracies are 95 % bootstrap intervals over {top1_interval}, those of differences are 95 % "
            f"intervals of Student's t over {repeats}, which hold for this test split."
        )
    return " ".join([intervals, *tests_sentences(findings), software_sentence(environment)])


def tests_sentences(findings: Sequence[Finding]) -> list[str]:
    """Sentences about tests, margins and adjustment; none without findings."""
    sentences = []
    directed = [finding for finding in findings if finding.claim.expected != "equal"]
    equal = [finding for finding in findings if finding.claim.expected == "equal"]
    if directed:
        sentences.append(
            f"{pluralize(len(directed), 'claim')} of a direction {_were(directed)} tested with two-sided t tests of "
            f"differences that are paired by repetition ({_n(directed)})."
        )
    if equal:
        margins = dict.fromkeys(margin_text(finding.claim) for finding in equal)
        sentences.append(
            f"{pluralize(len(equal), 'claim')} of equality {_were(equal)} tested with two-sided t tests of the "
            f"difference from the nearer end of a margin of {join_words(list(margins))} that was fixed in advance "
            f"({_n(equal)}): within the margin, these are the two one-sided tests of equivalence (TOST) with an alpha "
            f"of {ALPHA / 2:g} each."
        )
    if findings:
        several = len(findings) > 1
        adjusted = f"P-values were adjusted by Holm's method for all {len(findings)} claims; the" if several else "The"
        sentences.append(f"{adjusted} level is {ALPHA:g}.")
    return sentences


def tests_references(findings: Sequence[Finding]) -> list[str]:
    """The keys of the entries for intervals of Student's t and for the tests of `tests_sentences`."""
    expected = {finding.claim.expected for finding in findings}
    equality = ["schuirmann"] if "equal" in expected else []
    return ["student", *equality, *(["holm"] if len(findings) > 1 else [])]


def _were(findings: Sequence[Finding]) -> str:
    return "was" if len(findings) == 1 else "were"


def _n(findings: Sequence[Finding]) -> str:
    """The numbers of repetitions, as "n = 3" or "n = 3 to 8"."""
    return f"n = {number_range(finding.difference.n if finding.difference else 0 for finding in findings)}"
