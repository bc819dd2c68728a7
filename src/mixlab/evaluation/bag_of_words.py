"""A baseline for texts: logistic regression on bags of words and pairs of words."""

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from mixlab.data.dataset import Dataset, Split
from mixlab.data.text.text import Text

STRENGTHS = (1.0, 10.0, 100.0)
"""The inverse strengths of regularisation (C) to choose from."""


@dataclass(frozen=True)
class BagOfWords:
    """A fitted baseline. `strength` is the C that was chosen."""

    pipeline: Pipeline
    strength: float

    def fitted_to(self, split: Split) -> "BagOfWords":
        """The same method, fitted to other texts."""
        pipeline: Any = clone(self.pipeline)
        return BagOfWords(pipeline.fit(contents(split), split.labels), self.strength)

    def correct(self, split: Split) -> Bool[np.ndarray, " text"]:
        """Whether each text is classified correctly."""
        return self.pipeline.predict(contents(split)) == split.labels

    def confidences(self, texts: list[str]) -> Float[np.ndarray, " text"]:
        """The probability of the most probable class of each text."""
        return self.pipeline.predict_proba(texts).max(axis=1)

    @property
    def parameters(self) -> int:
        """The number of coefficients."""
        regression: Any = self.pipeline[-1]
        return regression.coef_.size + regression.intercept_.size

    @property
    def bytes(self) -> int:
        """The size of the pickled pipeline with its vocabulary."""
        return len(pickle.dumps(self.pipeline))


def fit_bag_of_words(dataset: Dataset) -> BagOfWords:
    """Fit to the train split; C has the highest accuracy on the validation split, the smallest one of several."""
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    fitted = []
    for strength in STRENGTHS:
        pipeline = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]"),
            LogisticRegression(C=strength, max_iter=1000),
        )
        fitted.append(BagOfWords(pipeline.fit(contents(train), train.labels), strength))
    return max(fitted, key=lambda one: one.correct(validation).mean())


def contents(split: Split) -> list[str]:
    """The texts of a split."""
    return [text.content for text in split.images if isinstance(text, Text)]
