"""Every size costs what sizes.toml says, and what the papers say of it is in their tables."""

import pytest
import torch

from mixlab.errors import UserError
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.models.contract import height_and_width
from mixlab.zoo.architecture import create_model
from mixlab.zoo.paper import paper_rows
from mixlab.zoo.sizes import Size, find_size, list_models, list_sizes

PUBLISHED = {
    # parameters with the 1000-class head, and multiply-accumulates in G: the authors' code where it counts (vit_jax's
    # models_test.py for Mixer B/16, B/32 and L/16; davit.py for Tiny to Large), else the papers' formulas
    "mixer_s32": (19_104_624, 1.002),
    "mixer_s16": (18_528_264, 3.777),
    "mixer_b32": (60_293_428, 3.238),
    "mixer_b16": (59_880_472, 12.602),
    "mixer_l32": (206_939_264, 11.253),
    "mixer_l16": (208_196_168, 44.548),
    "mixer_h14": (432_350_952, 120.990),
    "convmixer_1536_20": (51_625_960, 51.10),
    "convmixer_768_32": (21_110_248, 20.68),
    "convmixer_1024_20": (24_383_464, 5.95),
    "convmixer_256_8": (594_186, 0.148),
    "davit_tiny": (28_360_168, 4.52),
    "davit_small": (49_745_896, 8.77),
    "davit_base": (87_954_408, 15.47),
    "davit_large": (196_811_752, 102.8),
    "davit_huge": (362_685_416, 334.3),
    "davit_giant": (1_437_435_880, 1038.0),
}
OURS = {"mixer_nano", "convmixer_nano", "davit_nano", "resnet_nano", "vit_nano"}


def test_no_size_lacks_its_published_counts() -> None:
    assert set(list_models()) - OURS == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_size_has_the_published_counts(name: str) -> None:
    parameters, giga_macs = PUBLISHED[name]
    assert find_size(name).parameters == parameters
    assert find_size(name).macs == pytest.approx(giga_macs * 1e9, rel=1e-3)


@pytest.mark.parametrize("name", list_models())
def test_a_size_built_anew_has_the_counts_of_the_table(name: str) -> None:
    size = find_size(name)
    with torch.device("meta"):  # Giant would not fit everywhere
        model = create_model(name)
    assert count_parameters(model) == size.parameters
    assert count_macs(model, (3, *height_and_width(size.config["image_size"]))) == size.macs


@pytest.mark.parametrize("size", [size for size in list_sizes() if size.reported_by], ids=lambda size: size.name)
def test_a_reported_number_is_the_paper_s_or_says_whose(size: Size) -> None:
    assert size.reported_by is not None
    rows = [row for row in paper_rows() if row.counted and row.counted.build == size.name]
    printed = {float(row.printed["top1"]) for row in rows}
    assert size.reported_by.startswith("authors' code, ") or size.paper_top1 in printed


def test_a_number_and_whose_it_is_come_together() -> None:
    assert all((size.paper_top1 is None) == (size.reported_by is None) for size in list_sizes())


def test_the_nano_sizes_are_about_equal_in_parameters() -> None:
    parameters = [find_size(name).parameters for name in OURS]
    assert max(parameters) < 1.25 * min(parameters)


def test_a_pattern_is_the_beginning_of_a_name() -> None:
    assert set(list_models("mixer_b")) == {"mixer_b16", "mixer_b32"}


def test_a_star_stands_for_any_letters() -> None:
    assert set(list_models("*_nano")) == OURS


def test_a_pattern_that_nothing_fits_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r'begins with "davit_tny".*Did you mean "davit_tiny"'):
        list_models("davit_tny")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r'"mixer_b61" is no model .* Did you mean "mixer_b16"'):
        find_size("mixer_b61")
