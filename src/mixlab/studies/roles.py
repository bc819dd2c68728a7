"""The roles of models in claims: the first model of each family."""

from collections.abc import Sequence

from mixlab.zoo.architecture import architecture, family_of


def first_of_each_role(models: Sequence[str]) -> dict[str, str]:
    """The first model of each role: a family of mixlab, "resnet" or "vit" for models of timm, else the family."""
    roles: dict[str, str] = {}
    for model in models:
        roles.setdefault(_role(model), model)
    return roles


def _role(model: str) -> str:
    family = family_of(model)
    if family != "timm":
        return family
    name = architecture(model).config["name"]
    return next((kind for kind in ("resnet", "vit") if kind in name), family)
