"""The study of dense prediction from end to end on few images."""

from pathlib import Path

import pytest

from mixlab.data.dataset import Dataset
from mixlab.data.mask_sources import MASK_KINDS
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.studies import dense
from mixlab.studies.arms import plan_arms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.dense import Settings
from mixlab.studies.dense_claims import CLAIMS
from mixlab.studies.result import study_page
from mixlab.zoo.architecture import architecture, with_decoder
from shape_masks import write_camvid
from studies.test_permutation import silent

SETTINGS = Settings(seeds=2, epochs=1, height=32, width=32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder: Path = write_camvid(tmp_path_factory.mktemp("shapes"))
    return open_dataset(f"masks:{folder}", MASK_KINDS, quiet=True)


@pytest.fixture(scope="module")
def result(laboratory, dataset: Dataset) -> ArmsResult:
    planned = plan_arms(dense.arms(dataset, SETTINGS), dataset, silent, speed="off")
    return dense.conclude(planned.train(log=silent, quiet=True), SETTINGS)


@pytest.mark.long
def test_every_arm_has_its_miou_and_every_claim_a_verdict(result: ArmsResult):
    assert len(result.arms) == 12
    assert len(result.findings()) == sum(map(len, CLAIMS.values()))
    stored = result.to_dict()["arms"][0]
    assert stored["miou"]["n"] == 2
    assert len(stored["pixel_accuracy"]) == 2
    assert "mIoU of each arm" in study_page(result).html()
    assert [row["class"] for row in result.tables()[0].rows] == ["ground", "square"]


def test_the_five_models_have_about_the_same_macs_at_the_default_size():
    settings = Settings()
    macs = []
    for name, config in dense._MODELS.values():
        body = architecture(name, image_size=(settings.height, settings.width), **config)
        macs.append(with_decoder(body, "fpn", settings.decoder_width, 11).macs)
    assert max(macs) / min(macs) < 1.15


def test_the_five_models_come_first_and_a_factor_adds_its_arms(dataset: Dataset):
    first = list(dense.arms(dataset, Settings(factors=("none",))))
    assert first == list(dense._MODELS)
    more = list(dense.arms(dataset, Settings(factors=("pyramid",))))
    assert more[:5] == first
    assert more[5:] == ["Mixer, linear head", "ConvMixer, linear head", "DaViT, linear head"]


def test_an_unknown_factor_is_refused(dataset: Dataset):
    with pytest.raises(UserError, match='--factors has "colour": give some of pyramid, position, resolution, or none'):
        dense.arms(dataset, Settings(factors=("colour",)))
