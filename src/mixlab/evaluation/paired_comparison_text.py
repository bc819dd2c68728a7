"""A paired comparison in words: the conclusion, what it covers, and what would decide it."""

from mixlab.evaluation.paired_comparison import PairedComparison
from mixlab.report.numbers import format_p, format_points, number, round_up
from mixlab.report.text import pluralize
from mixlab.stats.sample_size import MAX_IMAGE_FACTOR, MAX_SEEDS, PairNeeded

_DIGITS = 2


def conclusion(comparison: PairedComparison) -> str:
    """Which method is more accurate, or that they are equivalent, or that neither is shown: one or two sentences."""
    name_a, name_b = comparison.names
    difference, equivalence = comparison.difference, comparison.equivalence
    margin, p = format_points(comparison.margin), format_p(comparison.p)
    interval_90 = f"90 % interval {_interval(equivalence.low, equivalence.high)}"
    if comparison.is_significant:
        better, worse, value, low, high = (
            (name_a, name_b, difference.difference, difference.low, difference.high)
            if difference.difference > 0
            else (name_b, name_a, -difference.difference, -difference.high, -difference.low)
        )
        sentence = f"{better} is more accurate than {worse} by {_points(value)} {_interval(low, high)} ({p})."
        within = f" The difference is within the margin of {margin} ({interval_90})."
        return sentence + within if equivalence.is_shown else sentence
    if equivalence.is_shown:
        return (
            f"{name_a} and {name_b} are equally accurate within {margin}: the difference is "
            f"{_points(difference.difference)}, {interval_90} ({format_p(equivalence.p)})."
        )
    return (
        f"Undecided: the difference between {name_a} and {name_b}, {_points(difference.difference)} "
        f"{_interval(difference.low, difference.high)}, is not significant ({p}), and equivalence within {margin} is "
        f"not shown ({format_p(equivalence.p)})."
    )


def scope(comparison: PairedComparison) -> str:
    """What the conclusion does not cover, in one sentence; "" with three or more runs of both methods."""
    runs = comparison.difference.seeds
    if max(runs) == 1:
        return "One run of each compares these two trainings; other trainings of the same methods may differ."
    if min(runs) == 1:
        single = comparison.names[runs.index(1)]
        return f"{single} has one run: the result does not cover other trainings of it."
    if min(runs) == 2:
        return "With two runs of a method, false alarms are more frequent than 5 %: use three or more."
    return ""


def what_would_decide(comparison: PairedComparison) -> list[str]:
    """The runs or images that would likely decide an undecided comparison, in sentences; empty if it is decided."""
    if comparison.is_significant or comparison.equivalence.is_shown:
        return []
    observed = abs(comparison.difference.difference)
    sentences = []
    if observed > 0:
        sentences.append(
            _sizes(comparison, f"a true difference of {_points(observed)}", comparison.significance_needed)
        )
    if observed < comparison.margin:
        claim = f"equivalence within {format_points(comparison.margin)}"
        sentences.append(_sizes(comparison, claim, comparison.equivalence_needed))
    return sentences


def _sizes(comparison: PairedComparison, claim: str, needed: PairNeeded) -> str:
    runs, images, noun = comparison.difference.seeds, comparison.a.images, comparison.noun
    covers_seeds = comparison.difference.covers_seeds
    options = []
    if needed.seeds:
        present = f"{runs[0]}" if runs[0] == runs[1] else f"{runs[0]} and {runs[1]}"
        options.append(f"{pluralize(needed.seeds, 'run')} of each instead of {present}")
    if needed.image_factor:
        options.append(f"{pluralize(round_up(needed.image_factor * images), noun)} instead of {images:,}")
    if options:
        text = f"To show {claim} with a probability of 80 %, use about {' or '.join(options)}."
    elif covers_seeds:
        text = (
            f"To show {claim}, neither {MAX_SEEDS} runs of each nor {MAX_IMAGE_FACTOR} times as many {noun}s suffice."
        )
    else:
        text = f"To show {claim}, even {MAX_IMAGE_FACTOR} times as many {noun}s do not suffice."
    if covers_seeds and not needed.images_suffice:
        text += f" No number of runs suffices for it, because the {noun}s alone leave too much uncertainty."
    return text


def _points(points: float) -> str:
    return f"{number(points, _DIGITS)} points"


def _interval(low: float, high: float) -> str:
    return f"[{number(low, _DIGITS)}, {number(high, _DIGITS)}]"
