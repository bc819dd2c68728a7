"""Every Card rebuilt and recounted, and what it says about where it comes from."""

import re

import pytest
import torch

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.weights.formats import formats
from mixlab.zoo.architecture import build
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
def test_a_card_is_rebuilt_and_recounted(published):
    side = published.config["image_size"]
    with torch.device("meta"):
        model = build(published.family, published.config)
    assert count_parameters(model) == published.parameters
    assert count_macs(model, (3, side, side)) == published.macs
    assert published.config["classes"] == CLASSES[published.labels]


@each
def test_a_card_s_words_are_complete(published):
    assert Preprocess.from_dict(published.preprocess).image_size == (published.config["image_size"],) * 2
    assert published.licence and published.provenance.endswith(".")
    assert published.sources
    for source in published.sources:
        assert source.format in formats() and formats()[source.format].family == published.family
        assert source.sha256 == "unknown" or re.fullmatch("[0-9a-f]{64}", source.sha256)
        assert source.address.startswith("https://") if source.kind == "url" else source.address.count("/") == 1
    assert all(expected.reported_by and expected.on for expected in published.expected)


@each
def test_the_bucket_s_sizes_are_those_of_the_counted_parameters(published):
    """An npz adds a header to each array, and little else."""
    for source in published.sources:
        if source.mebibytes is not None:
            assert 0 < source.mebibytes - 4 * published.parameters / 2**20 < 0.2


def test_timm_s_preprocessing_and_classes_are_those_of_the_cards():
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    seen = 0
    for published in CARDS:
        for name in (published.name, *published.aliases):
            if name not in timm.list_pretrained():
                continue
            theirs = timm.models.get_pretrained_cfg(name)
            seen += 1
            assert theirs.num_classes == published.config["classes"]
            assert theirs.input_size == (3, *published.preprocess["image_size"])
            assert theirs.crop_pct == published.preprocess["crop_fraction"]
            assert theirs.interpolation == published.preprocess["interpolation"]
            assert (theirs.mean, theirs.std) == tuple(tuple(published.preprocess[key]) for key in ("mean", "std"))
    assert seen == 12


def test_timm_s_names_are_aliases_only_where_its_counts_are_equal():
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    for published in CARDS:
        for alias in published.aliases:
            architecture = alias.partition(".")[0]
            if "." not in alias:  # an old name
                continue
            with torch.device("meta"):
                theirs = timm.create_model(architecture, num_classes=published.config["classes"])
            assert count_parameters(theirs) == published.parameters


@pytest.mark.parametrize("size", ["b16", "l16"])
def test_the_two_names_that_timm_has_wrong_lead_to_the_right_card_and_say_so(size, caplog):
    found = card(f"mixer_{size}_224.goog_in21k_ft_in1k")
    assert found.name == f"mixer_{size}.goog_in1k"
    (line,) = [record.getMessage() for record in caplog.records]
    assert "trained on ImageNet-1k alone" in line


def test_a_right_name_says_nothing(caplog):
    assert card("mixer_b16.goog_in1k").name == "mixer_b16.goog_in1k"
    assert card("mixer_b16_224.goog_in21k").config["classes"] == 21843
    assert card("mixer_b16_224_in21k").config["classes"] == 21843  # timm itself leads from here to 1,000 classes
    assert not caplog.records


def test_a_name_that_is_none_is_refused_with_the_nearest():
    assert find_card("davit_tiny.msft_in2k") is None
    with pytest.raises(UserError, match=r'no published weights .* Did you mean "davit_tiny\.msft_in1k"\?'):
        card("davit_tiny.msft_in2k")
