"""The counts and the reported accuracies of sizes.toml."""

import re

import pytest
import torch

from mixlab.errors import UserError
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.models.contract import height_and_width
from mixlab.zoo.architecture import create_model
from mixlab.zoo.paper import paper_rows
from mixlab.zoo.sizes import Size, find_size, list_models, list_sizes

PUBLISHED = {
    # Parameters with the 1000-class head, and multiply-accumulates in G. They come from the authors' code if it has the
    # counts (vit_jax's models_test.py for Mixer B/16, B/32 and L/16; davit.py for Tiny to Large), else from the papers'
    # formulas.
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
NANO_SIZES = {
    "mixer_nano",
    "convmixer_nano",
    "davit_nano",
    "resnet_nano",
    "vit_nano",
    "vit_nano_learned",
    "vit_nano_no_positions",
}


def test_every_size_has_published_counts() -> None:
    assert set(list_models()) - NANO_SIZES == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_counts_are_the_published_ones(name: str) -> None:
    parameters, giga_macs = PUBLISHED[name]
    assert find_size(name).parameters == parameters
    assert find_size(name).macs == pytest.approx(giga_macs * 1e9, rel=1e-3)


@pytest.mark.parametrize("name", list_models())
def test_the_counts_are_those_of_the_model(name: str) -> None:
    size = find_size(name)
    with torch.device("meta"):  # davit_giant would not fit into the memory of every machine
        model = create_model(name)
    assert count_parameters(model) == size.parameters
    assert count_macs(model, (3, *height_and_width(size.config["image_size"]))) == size.macs


@pytest.mark.parametrize("size", [size for size in list_sizes() if size.reported_by], ids=lambda size: size.name)
def test_a_reported_accuracy_is_in_the_table_of_the_paper_or_from_the_authors_code(size: Size) -> None:
    assert size.reported_by is not None
    rows = [row for row in paper_rows() if row.counted and row.counted.build == size.name]
    printed = {float(row.printed["top1"]) for row in rows}
    assert size.reported_by.startswith("authors' code, ") or size.paper_top1 in printed


def test_every_reported_accuracy_has_a_source() -> None:
    assert all((size.paper_top1 is None) == (size.reported_by is None) for size in list_sizes())


def test_the_nano_sizes_have_similar_parameter_counts() -> None:
    parameters = [find_size(name).parameters for name in NANO_SIZES]
    assert max(parameters) < 1.25 * min(parameters)


def test_a_pattern_matches_the_beginning_of_names() -> None:
    assert set(list_models("mixer_b")) == {"mixer_b16", "mixer_b32"}


def test_a_star_matches_any_characters() -> None:
    assert set(list_models("*_nano*")) == NANO_SIZES


def test_a_pattern_without_a_match_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r'No model name starts with "davit_tny".*Did you mean "davit_tiny"'):
        list_models("davit_tny")


def test_an_unknown_name_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r'"mixer_b61" is not a known model: .* Did you mean "mixer_b16"'):
        find_size("mixer_b61")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mixer_b16_224", "mixer_b16"),
        ("convmixer_1024_20_ks9_p14", "convmixer_1024_20"),
        ("Mixer_B16", "mixer_b16"),
        ("Mixer-B/16", "mixer_b16"),
        ("ConvMixer-768/32", "convmixer_768_32"),
        ("DaViT-Tiny", "davit_tiny"),
    ],
)
def test_names_of_timm_and_of_the_papers_are_those_of_sizes(name: str, size: str) -> None:
    assert find_size(name).name == size


def test_names_are_distinct_without_separators() -> None:
    names = [name for size in list_sizes() for name in (size.name, *size.aliases)]
    assert len({re.sub("[^a-z0-9]", "", name) for name in names}) == len(names)


def test_an_alias_has_the_parameters_and_the_image_size_of_timm_s_model() -> None:
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    aliases = {alias: size for size in list_sizes() for alias in size.aliases}
    assert len(aliases) == 7
    for alias, size in aliases.items():
        with torch.device("meta"):
            model = timm.create_model(alias)
        assert count_parameters(model) == size.parameters
        assert model.pretrained_cfg["input_size"] == (3, size.config["image_size"], size.config["image_size"])


def test_models_are_listed_by_their_names_in_timm() -> None:
    assert list_models("mixer_b16_224") == list_models("Mixer_B16") == ["mixer_b16"]
    assert list_models("convmixer_1024_20_ks9") == ["convmixer_1024_20"]
