"""The architecture behind any model name. Only speed is measured, so no weights are downloaded."""

from mixlab.weights.load import load_pretrained
from mixlab.weights.source import is_pretrained
from mixlab.zoo.architecture import Architecture, architecture, of_family, trust_named_code
from mixlab.zoo.cards import find_card


def find_architecture(model: str) -> Architecture:
    """The architecture of a size, of published weights, timm:NAME, variant:NAME, py:FILE.py:NAME, hub:NAME or a path.

    The weights of a path or of the hub are read, because they may determine the config. Raises UserError.
    """
    trust_named_code(model)
    if card := find_card(model):
        return of_family(model, card.family, card.config)
    if model.startswith("timm:"):
        kind, name, *fields = model.split(":")
        return architecture(":".join([kind, name.partition(".")[0], *fields]))
    if is_pretrained(model):
        weights = load_pretrained(model).weights
        return Architecture(model, weights.family, weights.config)
    return architecture(model)
