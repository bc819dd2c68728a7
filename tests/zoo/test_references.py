"""The references of a model."""

import pytest

from mixlab.zoo.architecture import Architecture
from mixlab.zoo.references import model_references


@pytest.mark.parametrize(
    ("family", "name", "keys"),
    [
        ("mixer", "", ["mixer"]),
        ("timm", "cifar_resnet", ["resnet", "timm"]),
        ("timm", "plain_vit", ["vit", "timm"]),
        ("variant:attention_mixer", "", ["mixer"]),
        ("variant:ablated_davit", "", ["davit"]),
        ("variant:ablated_convmixer", "", ["convmixer"]),
        ("variant:metaformer", "", ["metaformer"]),
        ("py:mine.py:Mine", "", []),
        ("py:mine.py:my_mixer", "", []),
    ],
)
def test_a_model_has_the_references_of_its_family(family, name, keys):
    assert model_references(Architecture("", family, {"name": name} if name else {})) == keys
