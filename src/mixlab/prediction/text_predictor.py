"""Predicts labels with probabilities for texts.

    predictor = TextPredictor("runs/intents")
    predictor("where is my card?").label      # "card_arrival"

Axes:  class  index into `TextPredictor.classes`
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from mixlab.data.text.hashing import tokens_of
from mixlab.data.text.preprocess import TextPreprocess
from mixlab.errors import UserError
from mixlab.evaluation.finite import require_finite
from mixlab.prediction.predictor import BATCH, Prediction, class_labels
from mixlab.tasks.text import TEXT
from mixlab.weights.classifier import load_classifier


class TextPredictor:
    """Predicts labels for texts with a trained model, eager in fp32.

    `source` is the folder of a run. A text that is longer than `tokens`, the maximum length of the model, is cut.
    `device` is that of `Predictor`.

    Raises UserError if the weights can't be loaded or are for images, or if the device is not available.
    """

    def __init__(self, source: str | Path, *, device: str | torch.device | None = None):
        classifier = load_classifier(source)
        if not isinstance(classifier.preprocess, TextPreprocess):
            raise UserError(
                f"{source} is a model for images, so it can't read texts: give the run of a model for texts."
            )
        self.classes = class_labels(classifier, source)
        self.device = classifier.pick_device(device)
        self._preprocess = classifier.preprocess
        self._network = classifier.network.to(self.device).eval()

    @property
    def tokens(self) -> int:
        """The maximum length of a text in tokens."""
        return self._preprocess.tokens

    def __call__(self, text: str) -> Prediction:
        """The prediction for one text. Raises UserError for a text without words."""
        return next(self.predict([text]))

    def is_cut(self, text: str) -> bool:
        """Whether a text is longer than the model can read."""
        return len(tokens_of(text)) > self.tokens

    @torch.inference_mode()
    def predict(self, texts: Sequence[str]) -> Iterator[Prediction]:
        """Yields the prediction for each text, in order. Raises UserError for a text without words."""
        for start in range(0, len(texts), BATCH):
            encoded = torch.stack([self._preprocess.encoded(text) for text in texts[start : start + BATCH]])
            longest = int((encoded[..., 0] != 0).sum(dim=1).max())  # padding has no effect, but takes time
            logits = self._network(self._preprocess.finished(encoded[:, :longest].to(self.device)))
            require_finite(logits)
            for probabilities in TEXT.probabilities(logits).numpy(force=True):
                labels = tuple(self.classes[index] for index in TEXT.predicted(probabilities, {}))
                yield Prediction(self.classes, probabilities, labels)
