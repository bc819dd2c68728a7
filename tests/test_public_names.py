"""The public names of `import mixlab`, and the modules that it loads."""

import subprocess
import sys
from importlib import metadata

import pytest

import mixlab


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
