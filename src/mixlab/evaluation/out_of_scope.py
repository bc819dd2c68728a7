"""Rejection of texts that belong to none of the classes, by the confidence of a classifier.

The threshold is chosen on validation texts as by Larson et al. 2019, https://arxiv.org/abs/1909.02027 (section 3.2): it
has the highest accuracy over all texts, where a text that is out of scope is correct if it is rejected.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import roc_auc_score

from mixlab.report.table import Cell, Column, Table
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval

Confidences = Float[np.ndarray, " _"]


@dataclass(frozen=True)
class OutOfScope:
    """How well a confidence threshold rejects texts that are out of scope.

    threshold  texts with a lower confidence are rejected, from 0 to 1
    accuracy   of the texts in scope, in per cent; a rejected one is an error
    recall     the share of the texts out of scope that are rejected, in per cent
    auroc      the probability in per cent that a text in scope has a higher confidence than one out of scope
    """

    threshold: float
    accuracy: Estimate
    recall: Estimate
    auroc: float

    def table(self) -> Table:
        """The values as a table."""
        rows: list[dict[str, Cell]] = [
            {"measure": "accuracy in scope", "value": self.accuracy},
            {"measure": "recall out of scope", "value": self.recall},
            {"measure": "AUROC", "value": self.auroc},
        ]
        notes = [
            f"Texts with a confidence below {self.threshold:.3f} are rejected. The threshold has the highest accuracy "
            "over the validation texts in scope and out of scope.",
            "Accuracy in scope: a rejected text is an error. AUROC needs no threshold.",
        ]
        columns = [Column("measure", "measure"), Column("value", "value", "%", digits=1, uncertainty="interval")]
        return Table("Out of scope", columns, rows, notes)


def best_threshold(confidences: Confidences, correct: Bool[np.ndarray, " text"], outside: Confidences) -> float:
    """The threshold with the highest accuracy over all texts; the lowest of equally good ones.

    confidences, correct  of the texts in scope
    outside               the confidences of the texts out of scope
    """
    candidates = np.unique(np.concatenate([confidences, outside, [0.0]]))
    accepted = np.sort(confidences[correct])
    right = len(accepted) - np.searchsorted(accepted, candidates) + np.searchsorted(np.sort(outside), candidates)
    return float(candidates[np.argmax(right)])


def evaluate_out_of_scope(
    threshold: float, confidences: Confidences, correct: Bool[np.ndarray, " text"], outside: Confidences
) -> OutOfScope:
    """Reject test texts below a threshold; the arguments are those of `best_threshold`."""
    scores = np.concatenate([confidences, outside])
    truth = np.concatenate([np.ones(len(confidences)), np.zeros(len(outside))])
    return OutOfScope(
        threshold,
        proportion_interval(int((correct & (confidences >= threshold)).sum()), len(confidences)),
        proportion_interval(int((outside < threshold).sum()), len(outside)),
        100 * float(roc_auc_score(truth, scores)),
    )
