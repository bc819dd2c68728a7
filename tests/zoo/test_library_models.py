"""Models of other libraries: names, fields, logits, and the sentence without the library."""

import sys

import pytest
import torch

from mixlab.errors import UserError
from mixlab.zoo.architecture import architecture, create_model


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "package"), [("pvt_small", "transformers"), ("cvt_13", "transformers"), ("van_b3", "birder")]
)
def test_a_model_returns_one_logit_per_class(name, package):
    pytest.importorskip(package, reason='needs pip install "mixlab[papers]"')
    model = create_model(f"papers:{name}", classes=7, image_size=64).eval()
    with torch.inference_mode():
        assert model(torch.randn(2, 3, 64, 64)).shape == (2, 7)


def test_an_unknown_name_lists_the_names():
    with pytest.raises(UserError, match=r'no model "papers:pvt_smal": the names are cswin_.*Did you mean "pvt_small"'):
        architecture("papers:pvt_smal")


@pytest.mark.parametrize(
    ("name", "package"), [("pvt_small", "transformers"), ("cvt_21", "transformers"), ("van_b3", "birder")]
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    if package == "birder":
        monkeypatch.setitem(sys.modules, "birder.net", None)
    with pytest.raises(UserError, match=rf'papers:{name} is built by {package}.*pip install "mixlab\[papers\]"'):
        architecture(f"papers:{name}")
