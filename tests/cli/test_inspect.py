"""`mixlab inspect`: format, architecture, tensor statistics and warnings."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mixlab.zoo.architecture import create_model

GOLDEN = Path(__file__).parents[1] / "golden"
MIXER = GOLDEN / "google_mixer_tiny.npz"
DAVIT = GOLDEN / "msft_davit_tiny.pth.tar"


def test_format_architecture_and_tensors_are_shown(run):
    ended = run("inspect", MIXER)
    assert ended.status == 0
    for words in ("google", "mixer", "token_hidden", "16", "MixerBlock_1/channel_mixing/Dense_1/kernel", "64 x 32"):
        assert words in ended.out, words


def test_statistics_are_correct(run):
    rows = {row["name"]: row for row in csv.DictReader(run("inspect", MIXER, "--format", "csv").out.splitlines())}
    with np.load(MIXER) as arrays:
        array = arrays["stem/kernel"].astype(np.float64)
    row = rows["stem/kernel"]
    assert (row["shape"], row["dtype"]) == ("8 x 8 x 3 x 32", "float32")
    assert float(row["mean"]) == pytest.approx(array.mean(), rel=1e-6)
    assert float(row["deviation"]) == pytest.approx(array.std(), rel=1e-6)
    assert (float(row["minimum"]), float(row["maximum"])) == (array.min(), array.max())


def test_nan_infinity_and_zeros_have_warnings(run):
    checkpoint = torch.load(DAVIT, weights_only=True)
    state = checkpoint["state_dict"]
    state["head.bias"][2] = torch.nan
    state["norms.bias"].zero_()
    state["head.weight"][0, 0] = torch.inf
    torch.save(checkpoint, "w.pth")
    ended = run("inspect", "w.pth", "--set", "heads=(1,2,4,8)", "--set", "window=4")
    assert ended.status == 0
    for words in ("head.bias (1 NaN)", "norms.bias (all zero)", "head.weight (1 infinite)"):
        assert words in " ".join(ended.out.split()), words


@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano", "davit_nano"])
def test_an_untrained_model_begins_with_a_sentence_and_has_no_warnings(run, name):
    model = create_model(name)
    save_file(model.state_dict(), "new.safetensors")
    ended = run("inspect", "new.safetensors")
    assert ended.out.startswith(
        "These weights are untrained: every normalisation layer has its initial scale of 1. Zero "
    )
    assert "all zero" not in ended.out and re.search(r"warnings +none", ended.out)
    with torch.no_grad():
        next(model.parameters())[0] = torch.nan
    save_file(model.state_dict(), "new.safetensors")
    assert re.search(r"warnings +stem\S* \(\d+ NaN\)", run("inspect", "new.safetensors").out)


def test_a_trained_run_has_no_sentence_about_untrained_weights(run, trained):
    assert "untrained" not in run("inspect", trained).out


def test_the_error_of_load_is_shown_with_the_tensors(run):
    ended = run("inspect", DAVIT)
    assert ended.status == 1
    assert "Give heads=(...)" in " ".join(ended.out.split())
    assert "main_blocks.0.0.0.cpe.0.proj.weight" in ended.out


def test_a_field_that_the_model_does_not_have_is_refused(refused, trained):
    assert refused("inspect", trained, "--set", "window=x").startswith('"window" is not a field of MixerConfig')


def test_json_has_the_tensors_only(run):
    ended = run("inspect", MIXER, "--verify", "--format", "json")
    assert json.loads(ended.out)["rows"]
    assert "all tensors match the model" in ended.err


def test_verify_shows_the_checksum_and_the_logits_of_a_fixed_image(run):
    import hashlib

    ended = run("inspect", MIXER, "--verify", "--format", "markdown")
    assert hashlib.sha256(MIXER.read_bytes()).hexdigest() in ended.out
    assert "all tensors match the model" in ended.out
    assert run("inspect", MIXER, "--verify", "--format", "markdown").out == ended.out


def test_verify_with_data_shows_the_accuracy(run, trained, pets):
    ended = run("inspect", trained, "--verify", "--data", f"folder:{pets}", "--format", "markdown", "--quiet")
    assert ended.status == 0
    assert "top-1 on folder:pets, %" in ended.out


def test_data_with_other_classes_is_refused(run, pets):
    ended = run("inspect", MIXER, "--verify", "--data", f"folder:{pets}")
    assert ended.status == 2
    assert "cat" in ended.err


def test_a_run_of_a_timm_model_is_inspected(run, train, pets):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    words = ("train", "--model", "resnet_nano", "--data", f"folder:{pets}", "--out", "run", "--quiet")
    assert run(*words, "--set", "steps=1", "--set", "batch=8", "--set", "speed=off").status == 0
    ended = run("inspect", "run", "--verify", "--format", "markdown")
    assert ended.status == 0
    assert "cifar_resnet" in ended.out
    assert "all tensors match the model" in ended.out


def test_a_file_that_changed_after_its_download_is_refused(run, here):
    import hashlib
    import shutil

    shutil.copy(MIXER, here / "w.npz")
    checksum = hashlib.sha256(MIXER.read_bytes()).hexdigest()
    (here / "w.npz.sha256").write_text(f"{checksum}  w.npz\n")
    assert run("inspect", "w.npz", "--verify").status == 0
    (here / "w.npz.sha256").write_text(f"{checksum[::-1]}  w.npz\n")
    ended = run("inspect", "w.npz", "--verify")
    assert ended.status == 2
    assert "w.npz: unexpected SHA-256, so the file is damaged or was replaced" in ended.err
