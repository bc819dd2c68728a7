"""The Cards: counts of the rebuilt models, completeness, and agreement with timm."""

import re

import pytest
import torch

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.weights.formats import formats
from mixlab.zoo.architecture import of_family
from mixlab.zoo.cards import card, find_card, list_cards

CARDS = list_cards()
CLASSES = {"imagenet-1k": 1000, "imagenet-21k": 21843, "imagenet-21k-p": 11221, "none": 0}
each = pytest.mark.parametrize("published", CARDS, ids=lambda published: published.name)


def test_every_published_checkpoint_has_a_card():
    assert [published.name for published in CARDS] == [
        "convmixer_1024_20.authors_in1k",
        "convmixer_1536_20.authors_in1k",
        "convmixer_768_32.authors_in1k",
        "davit_base.florence2",
        "davit_base.msft_in1k",
        "davit_huge.florence2",
        "davit_small.msft_in1k",
        "davit_tiny.msft_in1k",
        "mixer_b16.goog_in1k",
        "mixer_b16.goog_in21k",
        "mixer_b16.gsam_in1k",
        "mixer_b16.miil_in21k",
        "mixer_b16.miil_in21k_ft_in1k",
        "mixer_b16.sam_in1k",
        "mixer_b32.gsam_in1k",
        "mixer_b32.sam_in1k",
        "mixer_l16.goog_in1k",
        "mixer_l16.goog_in21k",
        "mixer_s16.gsam_in1k",
        "mixer_s32.gsam_in1k",
        "mixer_s8.gsam_in1k",
    ]


@each
def test_the_counts_of_a_card_are_those_of_its_model(published):
    side = published.config["image_size"]
    model = of_family(published.name, published.family, published.config).on_meta()
    assert count_parameters(model) == published.parameters
    assert count_macs(model, (3, side, side)) == published.macs
    assert published.config["classes"] == CLASSES[published.labels]


@each
def test_a_card_is_complete(published):
    assert Preprocess.from_dict(published.preprocess).image_size == (published.config["image_size"],) * 2
    assert published.licence and published.provenance.endswith(".")
    assert published.sources
    for source in published.sources:
        assert source.format in formats() and formats()[source.format].family == published.family
        assert source.sha256 == "unknown" or re.fullmatch("[0-9a-f]{64}", source.sha256)
        assert source.address.startswith("https://") if source.kind == "url" else source.address.count("/") == 1
    assert all(expected.reported_by and expected.on for expected in published.expected)


@each
def test_file_sizes_match_the_parameters(published):
    """An npz adds little more than a header for each array."""
    for source in published.sources:
        if source.mebibytes is not None:
            assert 0 < source.mebibytes - 4 * published.parameters / 2**20 < 0.2


def test_preprocessing_and_classes_are_those_of_timm():
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    compared = 0
    for published in CARDS:
        for name in (published.name, *published.aliases):
            if name not in timm.list_pretrained():
                continue
            expected = timm.models.get_pretrained_cfg(name)
            compared += 1
            assert expected.num_classes == published.config["classes"]
            assert expected.input_size == (3, *published.preprocess["image_size"])
            assert expected.crop_pct == published.preprocess["crop_fraction"]
            assert expected.interpolation == published.preprocess["interpolation"]
            assert (expected.mean, expected.std) == tuple(tuple(published.preprocess[key]) for key in ("mean", "std"))
    assert compared == 12


def test_aliases_have_the_same_parameter_count_in_timm():
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    for published in CARDS:
        for alias in published.aliases:
            architecture = alias.partition(".")[0]
            if "." not in alias:  # an old name
                continue
            with torch.device("meta"):
                model = timm.create_model(architecture, num_classes=published.config["classes"])
            assert count_parameters(model) == published.parameters


@pytest.mark.parametrize("size", ["b16", "l16"])
def test_the_two_misleading_names_of_timm_find_the_correct_card_with_a_warning(size, caplog):
    published = card(f"mixer_{size}_224.goog_in21k_ft_in1k")
    assert published.name == f"mixer_{size}.goog_in1k"
    (line,) = [record.getMessage() for record in caplog.records]
    assert "trained on ImageNet-1k alone" in line


def test_correct_names_log_nothing(caplog):
    assert card("mixer_b16.goog_in1k").name == "mixer_b16.goog_in1k"
    assert card("mixer_b16_224.goog_in21k").config["classes"] == 21843
    assert card("mixer_b16_224_in21k").config["classes"] == 21843  # in timm, this name now has 1,000 classes
    assert not caplog.records


def test_an_unknown_name_is_refused_with_the_nearest_name():
    assert find_card("davit_tiny.msft_in2k") is None
    with pytest.raises(
        UserError, match=r'No published weights have the name .* Did you mean "davit_tiny\.msft_in1k"\?'
    ):
        card("davit_tiny.msft_in2k")
