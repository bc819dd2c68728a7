"""The recommendation of a comparison, in words: which model to use, and how certain that is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mixlab.comparison.ranking import Ranking
from mixlab.report.numbers import format_points, number, round_up
from mixlab.report.text import pluralize
from mixlab.stats.estimate import Estimate
from mixlab.stats.sample_size import MAX_IMAGE_FACTOR, MAX_SEEDS, Needed
from mixlab.tasks.task import SampleScore


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The recommended model and the sentences that justify it.

    score              of a sample: what it is called
    noun               what a sample is, such as "image"
    scores             mean score in per cent, by model name
    images_per_second  inference speed, by model name
    baselines          mean score in per cent, by name of the baseline
    baseline_advice    what to do if a baseline is about as good as the model, or better
    unsupported        why the bounds support no recommendation and what to do, in one sentence; "" if they do
    decisive           what would likely decide, if no model is within the margin, in one or two sentences
    """

    score: SampleScore
    noun: str
    ranking: Ranking
    scores: Mapping[str, Estimate]
    images_per_second: Mapping[str, Estimate]
    baselines: Mapping[str, Estimate]
    baseline_advice: str
    unsupported: str
    decisive: str

    @property
    def recommended(self) -> str | None:
        """The fastest stable model that is at most the margin behind the best model; None if there is none."""
        within = [] if self.unsupported else self.ranking.within_margin
        return max(within, key=lambda name: self.images_per_second[name].value, default=None)

    @property
    def chosen(self) -> str:
        """The recommended model, or else the best observed of the stable models."""
        return self.recommended or self.ranking.stable[0]

    @property
    def conclusion(self) -> str:
        """Which model to use. A baseline that is about as good, or better, comes first."""
        answer = self._best_observed if self.recommended is None else self._recommendation
        return " ".join(sentence for sentence in (self._baseline, self._unstable_leader, answer) if sentence)

    @property
    def baselines_text(self) -> str:
        scores = (f"{name} {number(estimate.value, 1)} %" for name, estimate in self.baselines.items())
        return f"Baselines without a neural network: {', '.join(scores)}."

    @property
    def _recommendation(self) -> str:
        chosen, within = self.chosen, self.ranking.within_margin
        margin = format_points(self.ranking.margin)
        speed = (
            f"It is the fastest of the {len(within)} models within the margin: "
            f"{number(self.images_per_second[chosen].value, 0)} {self.noun}s per second. "
            if len(within) > 1
            else ""
        )
        bound = f"{self._bound_of_chosen} (95 % confidence; the margin is {margin})"
        return f"Use {chosen}: it is {bound}. {speed}{self._score_of_chosen}"

    @property
    def _best_observed(self) -> str:
        margin = format_points(self.ranking.margin)
        answer = (
            "No model is recommended."
            if self.unsupported
            else f"No model is within {margin} of the best with 95 % confidence."
        )
        observed = "Best observed of the stable models" if self._unstable_leader else "Best observed"
        return (
            f"{answer} {observed}: {self.chosen}, {self._bound_of_chosen}. {self._score_of_chosen} "
            f"{self.unsupported or self.decisive}"
        )

    @property
    def _bound_of_chosen(self) -> str:
        behind, stable = self.ranking.behind[self.chosen], self.ranking.stable
        if behind > 0:
            return f"at most {bound_text(behind)} points behind the best model"
        if len(stable) == 1:
            return "the only stable model"
        return f"better than every other {'stable ' if self.ranking.unstable else ''}model"

    @property
    def _baseline(self) -> str:
        chosen = self.chosen
        score = self.scores[chosen].value
        baseline, estimate = max(self.baselines.items(), key=lambda item: item[1].value)
        reached = f"{number(estimate.value, 1)} % and {number(score, 1)} %"
        if estimate.value >= score:
            return f"The baseline {baseline} is at least as good as {chosen} ({reached}): {self.baseline_advice}."
        if estimate.value >= score - self.ranking.margin:
            margin = format_points(self.ranking.margin)
            return f"The baseline {baseline} is within {margin} of {chosen} ({reached}): {self.baseline_advice}."
        return ""

    @property
    def _unstable_leader(self) -> str:
        leader = self.ranking.best_observed
        if leader not in self.ranking.unstable:
            return ""
        name = self.score.name
        return f"The unstable {leader} has the highest mean {name}, but its {name} varies too much over seeds."

    @property
    def _score_of_chosen(self) -> str:
        value = number(self.scores[self.chosen].value, 1)
        return self.score.sentence.format(value=value, noun=self.noun)


def round_bound(points: float) -> float:
    """An upper bound in percentage points, rounded up to two decimals."""
    return math.ceil(round(100 * points, 6)) / 100


def bound_text(points: float) -> str:
    return number(round_bound(points), 2)


def seeds_or_images_needed(needed: Needed, *, seeds: int, images: int, margin: float, noun: str = "image") -> str:
    """What would likely decide a comparison of trained models, in one or two sentences."""
    more_images = _images(needed, images, noun)
    if needed.image_part > margin:
        no_seeds = f"No number of seeds would decide, because the test {noun}s alone leave more than the margin."
        return f"{no_seeds} {more_images} would likely decide." if more_images else f"{no_seeds} {_both(seeds, noun)}"
    more_seeds = f"{pluralize(needed.seeds, 'seed')} instead of {seeds}" if needed.seeds else ""
    alternatives = " or ".join(part for part in (more_seeds, more_images) if part)
    if not alternatives:
        return f"{MAX_SEEDS} seeds would probably not decide. {_both(seeds, noun)}"
    return f"About {alternatives} would likely decide."


def images_needed(needed: Needed, *, images: int, noun: str = "image") -> str:
    """What would likely decide a comparison of models without seeds, in one sentence."""
    more_images = _images(needed, images, noun)
    return (
        f"About {more_images} would likely decide."
        if more_images
        else f"{MAX_IMAGE_FACTOR} times as many test {noun}s would probably not decide."
    )


def _images(needed: Needed, images: int, noun: str) -> str:
    """ "1,400 test images instead of 510"; "" if no number is known."""
    if needed.image_factor is None:
        return ""
    return f"{pluralize(round_up(images * needed.image_factor), f'test {noun}')} instead of {images:,}"


def _both(seeds: int, noun: str) -> str:
    return f"Neither would more test {noun}s with {pluralize(seeds, 'seed')}: use more of both."


def power_statement(points: float, improvement: str) -> str:
    """What a comparison of this size can detect, in two sentences.

    points       the detectable difference in percentage points, see `Ranking.detectable`
    improvement  what makes smaller differences detectable, for example "more test images"
    """
    return (
        f"A comparison of this size detects a true difference of {number(points, 1)} points in a typical pair with a "
        f"probability of 80 %. To detect smaller differences, use {improvement}."
    )
