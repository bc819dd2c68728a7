"""Averages of the weights of several trainings: requirements, batch normalisation, and the files of the new run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.batches import TrainingBatches
from mixlab.data.dataset import Dataset
from mixlab.data.preprocess import Preprocess
from mixlab.data.subset import subset
from mixlab.errors import UserError
from mixlab.files import write_json
from mixlab.models.convmixer import ConvMixer, ConvMixerConfig
from mixlab.runs.folder import Run, open_run, start_run
from mixlab.runs.history import read_history
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import soup
from mixlab.training.loop import train
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.soup import average, average_state_dicts
from mixlab.weights.load import load
from sounds import SPECTROGRAM

CONVMIXER = ("model=convmixer_nano", "config={ patch_size = 4, kernel_size = 3, channels = 8, depth = 1 }")
Trained = Callable[..., Run]


@pytest.fixture
def trained(make_job, shades: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A function that trains the tiny recipe with settings. `soup` opens the shades as the data of every run."""
    monkeypatch.setattr(soup, "open_dataset", lambda name: shades)

    def trained(name: str, *settings: str, dataset: Dataset = shades) -> Run:
        return train(make_job(*settings, dataset=dataset), Plan("cpu", ComputeMode(), 8), tmp_path / name, quiet=True)

    return trained


@pytest.fixture
def two(trained: Trained) -> list[Run]:
    """Two seeds of a Mixer."""
    return [trained("a"), trained("b", "seed=1")]


def state(value: float, count: int) -> dict[str, Tensor]:
    return {"weight": torch.tensor([value]), "num_batches_tracked": torch.tensor(count)}


def test_the_mean_is_summed_in_float64_and_rounded_once():
    values = [16_777_216.0, 1.0, 1.0, 2.0]  # float32 would lose each 1
    (mean,) = average_state_dicts(state(value, 0) for value in values)["weight"]
    assert (mean.item(), mean.dtype) == (16_777_220 / 4, torch.float32)


def test_integer_tensors_are_those_of_the_first_run():
    assert average_state_dicts([state(1, 7), state(2, 9)])["num_batches_tracked"] == 7


def test_the_weights_are_the_mean_of_the_runs(two, tmp_path):
    average(two, tmp_path / "mean", quiet=True)
    a, b, mean = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b", "mean"))
    for name, tensor in mean.items():
        assert torch.equal(tensor, ((a[name].double() + b[name].double()) / 2).float()), name


def test_averaging_a_run_with_itself_gives_its_weights(two, tmp_path):
    average([two[0]] * 3, tmp_path / "mean", quiet=True)
    a, mean = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "mean"))
    assert all(torch.equal(mean[name], tensor) for name, tensor in a.items())


def test_the_average_is_a_finished_run_that_lists_the_averaged_runs(two, tmp_path):
    run = average(two, tmp_path / "mean", quiet=True)
    assert open_run(run.path).recipe == two[0].recipe
    history = read_history(run.journal)
    assert history.averaged[0]["runs"] == [str(one.path) for one in two]
    assert history.validation and history.validation["images"] == 12
    assert history.end
    assert history.end["training_seconds"] == sum(read_history(one.journal).end["training_seconds"] for one in two)  # pyright: ignore
    assert load(run.path).config == load(run.path).config


def test_the_validation_accuracy_is_that_of_the_average(two, shades, tmp_path):
    run = average(two, tmp_path / "mean", quiet=True)
    split, preprocess = shades.splits["validation"], Preprocess.from_dict(run.config["preprocess"])
    images = torch.stack([preprocess(split.image(index)) for index in range(len(split))])
    correct = load(run.path)(images).argmax(dim=1).numpy() == split.labels
    assert read_history(run.journal).validation == {"top1": 100 * correct.mean(), "images": 12}


def test_the_page_describes_the_average_and_its_final_path(two, tmp_path):
    html = (average(two, tmp_path / "mean", quiet=True).path / "report.html").read_text()
    assert "The weights are the average of the weights of 2 trainings" in html
    assert f"mixlab evaluate {tmp_path / 'mean'}<" in html
    assert str(two[1].path) in html and "Learning curves" not in html


def test_batch_norm_statistics_are_estimated_with_the_average_on_training_images(trained, shades, tmp_path):
    runs = [trained(name, *CONVMIXER, "augmentation.pad_crop=2", f"seed={seed}") for seed, name in enumerate("ab")]
    run = average(runs, tmp_path / "mean", quiet=True)
    mean = load(run.path)
    assert isinstance(mean, ConvMixer)
    batches = TrainingBatches(
        shades.splits["train"],
        Preprocess.from_dict(run.config["preprocess"]),
        parse_training_recipe(run.recipe, "").augmentation,
        batch=8,
        seed=0,
    )
    with torch.no_grad():
        seen = [mean.stem[:2](batch.on("cpu")[0]) for batch in batches.epoch(0)]
    expected = torch.stack([one.mean(dim=(0, 2, 3)) for one in seen]).mean(dim=0)
    (norm,) = [module for module in mean.stem if isinstance(module, torch.nn.BatchNorm2d)]
    assert torch.allclose(norm.running_mean, expected, atol=1e-6)  # pyright: ignore
    assert norm.momentum == ConvMixer(ConvMixerConfig(**run.config["config"])).stem[2].momentum


def test_a_single_run_is_refused(two, tmp_path):
    with pytest.raises(UserError, match="Averaging needs two or more runs"):
        average(two[:1], tmp_path / "mean", quiet=True)


def test_other_architectures_are_refused_with_every_field_that_differs(two, trained, tmp_path):
    wide = trained("wide", "config.channels=16", "config.depth=2")
    with pytest.raises(UserError, match=r"config\.channels is 8 and 16; config\.depth is 1 and 2\. Average trainings"):
        average([two[0], wide], tmp_path / "mean", quiet=True)
    other = trained("other", *CONVMIXER)
    with pytest.raises(UserError, match=r"family is mixer and convmixer; .*config\.token_hidden is 8 and not given"):
        average([two[0], other], tmp_path / "mean", quiet=True)
    assert not (tmp_path / "mean").exists()


def test_other_classes_are_refused(two, trained, shades, tmp_path):
    other = trained("other", dataset=replace(shades, classes=("black", "white")))
    with pytest.raises(UserError, match=r"classes is \['dark', 'light'\] and \['black', 'white'\]"):
        average([two[0], other], tmp_path / "mean", quiet=True)


def test_another_preprocessing_is_refused(two, tmp_path):
    shutil.copytree(two[1].path, tmp_path / "c")
    changed = Run(tmp_path / "c")
    card = changed.config
    card["preprocess"]["interpolation"] = "bilinear"
    (changed.path / "config.json").write_text(json.dumps(card))
    changed.set_state("done")
    with pytest.raises(UserError, match=r"preprocess\.interpolation is bicubic and bilinear"):
        average([two[0], changed], tmp_path / "mean", quiet=True)


def test_another_split_of_the_data_is_refused(two, trained, shades, tmp_path):
    splits = shades.splits | {"train": shades.splits["train"].subset(np.arange(30))}
    other = trained("other", dataset=replace(shades, splits=splits))
    with pytest.raises(UserError, match="images that one held out may be training images of the other"):
        average([two[0], other], tmp_path / "mean", quiet=True)


def test_another_split_of_sounds_is_called_one_of_sounds(tmp_path):
    config = {"family": "mixer", "config": {}, "preprocess": {}, "classes": []}
    runs = []
    for name in "ab":
        recipe = {"preprocessing": {"spectrogram": SPECTROGRAM.to_dict()}}
        runs.append(start_run(tmp_path / name, recipe, {}, {}, {"listing": name}, None))
        write_json(runs[-1].path / "config.json", config)
    with pytest.raises(UserError, match=r"different sounds or splits, so sounds that .* may be training sounds"):
        average(runs, tmp_path / "mean", quiet=True)


def test_an_existing_folder_is_refused_before_any_computation(two):
    with pytest.raises(UserError, match="never overwritten"):
        average(two, two[0].path, quiet=True)


def test_batch_norm_statistics_are_those_of_the_images_that_were_learned(trained, shades, tmp_path, monkeypatch):
    """Permuted images, of a subset, with the validation images."""
    settings = ("transform.name=permute_all_pixels", "subset.per_class=3", "validation=merged")
    runs = [trained(name, *CONVMIXER, *settings, f"seed={seed}") for seed, name in enumerate("ab")]
    seen: list[Tensor] = []
    monkeypatch.setattr(soup, "update_bn", lambda images, model: seen.extend(images))
    average(runs, tmp_path / "mean", quiet=True)
    preprocess = Preprocess.from_dict(runs[0].config["preprocess"])
    assert preprocess.transform is not None
    learned = subset(shades.merge_validation(), per_class=3, seed=0).splits["train"]
    batches = TrainingBatches(learned, preprocess, Augmentation(), batch=8, seed=0)
    expected = torch.cat([preprocess.transform(batch.on("cpu")[0]) for batch in batches.epoch(0)])
    torch.testing.assert_close(torch.cat(seen), expected)
