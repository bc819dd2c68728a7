"""The study of dense prediction from end to end on few images."""

from dataclasses import replace
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
from mixlab.studies.dense_claims import CLAIMS, MEAN, NO_POSITIONS
from mixlab.studies.dense_start import segmenters_of
from mixlab.studies.initial_weights import arm_before
from mixlab.studies.result import study_page
from mixlab.training.job import Job
from mixlab.training.recipes.schema import Recipe
from mixlab.weights.load import load_pretrained
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


def test_with_a_start_arms_with_the_same_network_start_from_the_same_classifier(dataset: Dataset):
    found = dense.arms(dataset, replace(SETTINGS, start="digits"))
    classifiers = [name for name in found if name.endswith(", classifier")]
    assert classifiers == list(found)[:9]  # five models, two of position, two of resolution
    of_mixer = found["Mixer, classifier"][0]
    assert isinstance(of_mixer, Recipe)
    assert (of_mixer.task, of_mixer.data, of_mixer.image_size) == ("classification", "digits", (32, 32))
    for name in ("Mixer", "Mixer, linear head"):
        assert [arm_before(recipe) for recipe in found[name]] == ["Mixer, classifier"] * 2


@pytest.mark.long
def test_segmenters_start_from_networks_that_were_trained_on_classified_images(laboratory, dataset: Dataset):
    settings = replace(SETTINGS, seeds=1, start="digits", start_epochs=1, start_images=7, factors=("position",))
    planned = plan_arms(dense.arms(dataset, settings), dataset, silent, speed="off")
    laboratory.started.clear()
    trained = planned.train(log=silent, quiet=True)
    assert [job.task.name for job in laboratory.jobs] == ["classification"] * 7 + ["segmentation"] * 7
    for before, after in zip(laboratory.started[:7], laboratory.started[7:], strict=True):
        assert isinstance(before.job, Job) and isinstance(after.job, Job)
        assert len(before.job.dataset.splits["train"]) == 70
        assert before.job.image_preprocess.image_size == after.job.image_preprocess.image_size == (32, 32)
        assert after.job.backbone is not None
        assert after.job.backbone.digest == load_pretrained(before.folder).weights.digest
    assert list(segmenters_of(trained).runs) == [*dense._MODELS, MEAN, NO_POSITIONS]


def test_an_unknown_start_is_refused(dataset: Dataset):
    arms = dense.arms(dataset, replace(SETTINGS, start="nowhere"))
    with pytest.raises(UserError, match='"nowhere" is unknown'):
        plan_arms(arms, dataset, silent)


def test_an_unknown_factor_is_refused(dataset: Dataset):
    with pytest.raises(UserError, match='--factors has "colour": give some of pyramid, position, resolution, none'):
        dense.arms(dataset, Settings(factors=("colour",)))
