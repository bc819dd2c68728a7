"""The recommendation of a comparison, in words: which model to use, and how certain that is."""

from collections.abc import Mapping
from dataclasses import dataclass

from mixlab.comparison.ranking import Pair, Ranking
from mixlab.report.numbers import number
from mixlab.report.text import join_words
from mixlab.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The recommended model and the sentences that justify it.

    top1               accuracy in per cent, by model name
    images_per_second  inference speed, by model name
    baselines          accuracy in per cent, by name of the baseline
    baseline_advice    what to do if a baseline is at least as accurate as the recommended model
    """

    ranking: Ranking
    top1: Mapping[str, Estimate]
    images_per_second: Mapping[str, Estimate]
    baselines: Mapping[str, Estimate]
    baseline_advice: str

    @property
    def chosen(self) -> str:
        """The name of the recommended model: the fastest of those that are tied with the best."""
        return max(self.ranking.leaders, key=lambda leader: self.images_per_second[leader].value)

    @property
    def closest_pair(self) -> Pair:
        """The recommended model and the best of the models tied with it, or the next best model if there is no tie."""
        rivals = self.ranking.leaders if self.ranking.recommended is None else tuple(self.top1)
        return next(
            pair
            for pair in self.ranking.pairs  # best first
            if self.chosen in (pair.a, pair.b) and {pair.a, pair.b} <= set(rivals)
        )

    @property
    def conclusion(self) -> str:
        """Which model to use, and a warning if a baseline is at least as accurate."""
        chosen = self.chosen
        top1 = self.top1[chosen].value
        accuracy = f"{number(top1, 1)} % of the test images"
        if self.ranking.recommended is not None:
            conclusion = f"Use {chosen}: it classifies {accuracy} correctly, significantly more than every other model."
        else:
            best, *tied = self.ranking.leaders
            tie = (
                f"The difference between {best} and {tied[0]} is not significant."
                if len(tied) == 1
                else f"{join_words(tied)} are tied with the best, {best}: the differences are not significant."
            )
            conclusion = (
                f"{tie} Use {chosen}, the fastest of these: it classifies {accuracy} correctly and processes "
                f"{number(self.images_per_second[chosen].value, 0)} images per second."
            )
        baseline, reached = max(self.baselines.items(), key=lambda item: item[1].value)
        if reached.value >= top1:
            conclusion += f" But the baseline {baseline} reaches {number(reached.value, 1)} %: {self.baseline_advice}."
        return conclusion

    @property
    def uncertainty(self) -> str:
        """The difference of `closest_pair`, with its p-value."""
        closest_pair = self.closest_pair
        p = "p < 0.001" if closest_pair.difference.p < 0.001 else f"p = {closest_pair.difference.p:.2g}"
        next_best, significance = (
            ("", "not significant") if self.ranking.recommended is None else (", the next best model,", "significant")
        )
        difference = number(closest_pair.difference.difference, 2)
        return (
            f"The difference between {closest_pair.a} and {closest_pair.b}{next_best} is {difference} points and "
            f"{significance} ({p}, not adjusted for the number of pairs)."
        )

    @property
    def baselines_text(self) -> str:
        accuracies = (f"{name} {number(estimate.value, 1)} %" for name, estimate in self.baselines.items())
        return f"Baselines without training: {', '.join(accuracies)}."


def power_statement(points: float, improvement: str) -> str:
    """What a comparison of this size can detect, in two sentences.

    points       the detectable difference in percentage points, see `Ranking.detectable`
    improvement  what makes smaller differences detectable, for example "more test images"
    """
    return (
        f"A comparison of this size detects a true difference of {number(points, 1)} points in a typical pair with a "
        f"probability of 80 %. To detect smaller differences, use {improvement}."
    )
