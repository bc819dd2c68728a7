"""Which model to take of those that were compared, in a sentence: what every comparison ends in."""

from collections.abc import Mapping
from dataclasses import dataclass

from mixlab.comparison.ranking import Pair, Ranking
from mixlab.report.numbers import number
from mixlab.report.text import join_words
from mixlab.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Estimates by the models' names; `if_baseline_wins`: what to do where a yardstick does as well."""

    ranking: Ranking
    top1: Mapping[str, Estimate]
    images_per_second: Mapping[str, Estimate]
    baselines: Mapping[str, Estimate]
    if_baseline_wins: str

    @property
    def chosen(self) -> str:
        """The model that the answer names: of those that can't be told from the best, the one that answers fastest."""
        return max(self.ranking.leaders, key=lambda leader: self.images_per_second[leader].value)

    @property
    def closest_pair(self) -> Pair:
        """The taken model and its rival: the best of those that it can't be told from, else the best of all others."""
        rivals = self.ranking.leaders if self.ranking.recommended is None else tuple(self.top1)
        return next(
            pair
            for pair in self.ranking.pairs  # best first
            if self.chosen in (pair.a, pair.b) and {pair.a, pair.b} <= set(rivals)
        )

    @property
    def answer(self) -> str:
        """A sentence; a second one where a yardstick does as well."""
        chosen = self.chosen
        top1 = self.top1[chosen].value
        accuracy = f"{number(top1, 1)} % of the test images right"
        if self.ranking.recommended is not None:
            answer = f"Take {chosen}: it had {accuracy}, and its lead over every other model is more than chance."
        else:
            answer = (
                f"{join_words(self.ranking.leaders)} are not told apart: take the cheapest of these, {chosen}, which "
                f"answers {number(self.images_per_second[chosen].value, 0)} images a second and had {accuracy}."
            )
        baseline, reached = max(self.baselines.items(), key=lambda item: item[1].value)
        if reached.value >= top1:
            answer += f" But the yardstick {baseline} had {number(reached.value, 1)} %: {self.if_baseline_wins}."
        return answer

    @property
    def uncertainty(self) -> str:
        """How sure the answer is: the pair that comes closest to another one."""
        closest_pair = self.closest_pair
        p = "p < 0.001" if closest_pair.difference.p < 0.001 else f"p = {closest_pair.difference.p:.2g}"
        nearest, chance = (
            ("", "chance alone could have made it")
            if self.ranking.recommended is None
            else (", the next best,", "more than chance makes")
        )
        difference = number(closest_pair.difference.difference, 2)
        return (
            f"{closest_pair.a} and {closest_pair.b}{nearest} are {difference} points apart: {chance} "
            f"({p}, this pair by itself)."
        )

    @property
    def baselines_text(self) -> str:
        reached = (f"{name} {number(estimate.value, 1)} %" for name, estimate in self.baselines.items())
        return f"Yardsticks that train nothing: {', '.join(reached)}."


def power_statement(points: float, more: str) -> str:
    """What a comparison of its size can see, in two sentences; `more` of what would make it see more."""
    return (
        f"Had one of a typical pair truly been {number(points, 1)} points better than the other, a comparison of "
        f"this size would have noticed it 8 times in 10. Smaller differences may well stay hidden: {more} bring them "
        "to light."
    )
