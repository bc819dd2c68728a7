"""Help texts that several commands share."""

import re

from mixlab.cli.options import DATA
from mixlab.data.readers.torchvision_sets import SETS
from mixlab.data.sources import KINDS


def test_the_help_of_data_names_every_kind_except_the_torchvision_datasets():
    assert re.findall(r"([\w-]+)(?::[A-Z]+)?,", DATA)[: len(KINDS) - len(SETS)] == [
        kind for kind in KINDS if kind not in SETS
    ]
