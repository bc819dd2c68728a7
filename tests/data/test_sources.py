from pathlib import Path

import pytest

from mixlab.data.sources import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_is_documented(kind):
    torchvision_sets = PAGE.partition("**torchvision's sets:**")[2].replace("`", " ").split()
    assert f"`{KINDS[kind].spelling}`" in PAGE or kind in torchvision_sets
