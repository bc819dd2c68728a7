"""The references of a model."""

import re

from mixlab.report.references import known_references
from mixlab.zoo.architecture import Architecture


def model_references(model: Architecture) -> list[str]:
    """The keys of the entries of `mixlab.report.references` for a model."""
    family, name = model.family, model.config.get("name", "")
    if family == "timm":
        return ["resnet", "timm"] if "resnet" in name else ["vit", "timm"] if "vit" in name else ["timm"]
    # A variant is named by its change and the family that it changes, such as variant:ablated_davit.
    return known_references([re.split("[:_]", family)[-1] if family.startswith("variant:") else family])
