"""Which model to take of those that were compared, in a sentence: what every comparison ends in."""

from collections.abc import Mapping
from dataclasses import dataclass

from mixlab.comparison.ranking import Pair, Verdict
from mixlab.report.numbers import number
from mixlab.report.text import listed
from mixlab.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class Choice:
    """Estimates by the models' names; `if_beaten`: what to do where a yardstick does as well."""

    verdict: Verdict
    top1: Mapping[str, Estimate]
    images_per_second: Mapping[str, Estimate]
    yardsticks: Mapping[str, Estimate]
    if_beaten: str

    @property
    def taken(self) -> str:
        """The model that the answer names: of those that can't be told from the best, the one that answers fastest."""
        return max(self.verdict.leaders, key=lambda leader: self.images_per_second[leader].value)

    @property
    def closest(self) -> Pair:
        """The taken model and its rival: the best of those that it can't be told from, else the best of all others."""
        rivals = self.verdict.leaders if self.verdict.recommended is None else tuple(self.top1)
        return next(
            pair
            for pair in self.verdict.pairs  # best first
            if self.taken in (pair.a, pair.b) and {pair.a, pair.b} <= set(rivals)
        )

    @property
    def answer(self) -> str:
        """A sentence; a second one where a yardstick does as well."""
        taken = self.taken
        top1 = self.top1[taken].value
        accuracy = f"{number(top1, 1)} % of the test images right"
        if self.verdict.recommended is not None:
            answer = f"Take {taken}: it had {accuracy}, and its lead over every other model is more than chance."
        else:
            answer = (
                f"{listed(self.verdict.leaders)} are not told apart: take the cheapest of these, {taken}, which "
                f"answers {number(self.images_per_second[taken].value, 0)} images a second and had {accuracy}."
            )
        yardstick, reached = max(self.yardsticks.items(), key=lambda item: item[1].value)
        if reached.value >= top1:
            answer += f" But the yardstick {yardstick} had {number(reached.value, 1)} %: {self.if_beaten}."
        return answer

    @property
    def worth(self) -> str:
        """How sure the answer is: the pair that comes closest to another one."""
        closest = self.closest
        p = "p < 0.001" if closest.difference.p < 0.001 else f"p = {closest.difference.p:.2g}"
        nearest, chance = (
            ("", "chance alone could have made it")
            if self.verdict.recommended is None
            else (", the next best,", "more than chance makes")
        )
        difference = number(closest.difference.difference, 2)
        return (
            f"{closest.a} and {closest.b}{nearest} are {difference} points apart: {chance} ({p}, this pair by itself)."
        )

    @property
    def yardsticks_reached(self) -> str:
        reached = (f"{name} {number(estimate.value, 1)} %" for name, estimate in self.yardsticks.items())
        return f"Yardsticks that train nothing: {', '.join(reached)}."


def noticeable(points: float, more: str) -> str:
    """What a comparison of its size can see, in two sentences; `more` of what would make it see more."""
    return (
        f"Had one of a typical pair truly been {number(points, 1)} points better than the other, a comparison of "
        f"this size would have noticed it 8 times in 10. Smaller differences may well stay hidden: {more} bring them "
        "to light."
    )
