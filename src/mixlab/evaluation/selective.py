"""Above which confidence can the answers be trusted? The threshold is set on validation images, verified on test."""

from dataclasses import dataclass
from math import ceil, log10

from mixlab.evaluation.evaluation import Evaluation
from mixlab.report.numbers import number
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval
from mixlab.stats.selective import Threshold, guaranteed_threshold, images_needed

DEFAULT_ACCURACY = 99.0


@dataclass(frozen=True)
class TrustedAnswers:
    """The answers above a confidence that was set on validation images.

    wanted     the wanted accuracy in per cent
    threshold  None if no confidence reaches it on the validation images
    validation number of validation images
    accuracy   of the test images above the threshold, in per cent; None without a threshold or without such images
    coverage   the share of test images above the threshold, in per cent
    """

    wanted: float
    threshold: Threshold | None
    validation: int
    accuracy: Estimate | None
    coverage: Estimate | None

    def conclusion(self, noun: str) -> str:
        """One sentence for the report, with "image" or "sound" for `noun`."""
        wanted = f"{self.wanted:g} %"
        if self.threshold is None:
            needed = images_needed(self.wanted, self.validation)
            reason = (
                f"at least {needed:,} validation {noun}s must be answered without an error, and there are "
                f"{self.validation:,}"
                if needed > self.validation
                else f"the most confident validation {noun}s have too many errors"
            )
            return f"No confidence guarantees an accuracy of {wanted}: {reason}."
        guaranteed = (
            f"With a confidence of at least {_confidence(self.threshold.confidence)} %, an accuracy of {wanted} is "
            f"guaranteed with a probability of 95 %, from {self.validation:,} validation {noun}s"
        )
        if self.accuracy is None or self.coverage is None:
            return f"{guaranteed}; no test {noun} is that certain."
        return (
            f"{guaranteed}. On the test {noun}s, {number(self.coverage.value, 1)} % are that certain, and "
            f"{number(self.accuracy.value, 1)} % of these are correct."
        )


def trusted_answers(validation: Evaluation, test: Evaluation, wanted: float) -> TrustedAnswers:
    """The confidence above which `wanted` per cent of the answers are correct, and what it means on the test images."""
    threshold = guaranteed_threshold(validation.confidences, validation.correct, wanted)
    accuracy = coverage = None
    if threshold is not None:
        answered = test.correct[test.confidences >= threshold.confidence]
        coverage = proportion_interval(len(answered), len(test))
        accuracy = proportion_interval(int(answered.sum()), len(answered)) if len(answered) else None
    return TrustedAnswers(wanted, threshold, len(validation), accuracy, coverage)


def _confidence(confidence: float) -> str:
    """In per cent, with as many decimals as distinguish it from 100 %."""
    missing = 100 * (1 - confidence)
    return number(100 * confidence, max(1, ceil(-log10(missing)) if missing else 1))
