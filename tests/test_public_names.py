"""The public names of `import mixlab`, and the modules that it loads."""

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest

import mixlab
from mixlab.errors import UserError


@pytest.mark.parametrize("name", mixlab.__all__)
def test_public_names_are_available(name: str) -> None:
    assert callable(getattr(mixlab, name))
    assert name in dir(mixlab)


def test_the_version_is_that_of_the_package() -> None:
    assert mixlab.__version__ == metadata.version("mixlab")
    assert "__version__" in dir(mixlab)


def test_an_unknown_name_raises_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        mixlab.create_modle  # noqa: B018


def test_importing_mixlab_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, mixlab; assert not {'torch', 'numpy', 'pydantic', 'rich'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_prediction_imports_no_slow_library_that_it_does_not_need() -> None:
    slow = "{'scipy', 'timm', 'torchvision', 'openvino', 'onnx', 'matplotlib', 'torch._dynamo'}"
    code = f"import sys, mixlab.prediction.predictor as _; assert not {slow} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "use_path",
    [
        mixlab.load,
        mixlab.Predictor,
        mixlab.Explainer,
        mixlab.trust_code,
        lambda path: mixlab.create_model(f"py:{path}:Net"),
    ],
    ids=["load", "Predictor", "Explainer", "trust_code", "create_model"],
)
def test_a_path_that_the_system_refuses_is_a_user_error(use_path: Callable[[str], Any]) -> None:
    with pytest.raises(UserError, match=r"^x{300} can't be accessed: its name is too long: choose a shorter one\.$"):
        use_path("x" * 300)
