"""mixlab: a laboratory and workshop for patch-mixing vision models.

Importing it loads neither torch nor numpy: a public name is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixlab.prediction.explainer import Explainer
    from mixlab.prediction.predictor import Predictor
    from mixlab.weights.load import load
    from mixlab.zoo.architecture import create_model
    from mixlab.zoo.cards import card
    from mixlab.zoo.sizes import list_models
    from mixlab.zoo.user_code import trust_code

    __version__: str

__all__ = ["Explainer", "Predictor", "card", "create_model", "list_models", "load", "trust_code"]

_HOMES = {
    "Explainer": "mixlab.prediction.explainer",
    "Predictor": "mixlab.prediction.predictor",
    "card": "mixlab.zoo.cards",
    "create_model": "mixlab.zoo.architecture",
    "list_models": "mixlab.zoo.sizes",
    "load": "mixlab.weights.load",
    "trust_code": "mixlab.zoo.user_code",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("mixlab")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES, "__version__"]
