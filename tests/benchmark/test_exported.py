"""Exported models as forms: which architecture they are of, and what they run."""

from dataclasses import replace

import pytest
import torch

from exported_folder import write_exported_folder
from mixlab.benchmark.exported import ExportedForm, exported_form, prepare_exported, split_exported
from mixlab.errors import UserError
from mixlab.zoo.architecture import architecture

pytest.importorskip("onnxruntime", reason='needs onnx and onnxruntime: pip install "mixlab[deploy]"')


@pytest.fixture
def source(tmp_path) -> str:
    return str(write_exported_folder(tmp_path / "exported"))


def test_a_form_has_what_its_card_says(source):
    form = exported_form(source, 4)
    assert form == ExportedForm(source, 4, "fp32", (8, 8), parameters=0, macs=0)
    assert form.peer == f"exported {source}"


def test_a_call_runs_a_batch_of_images_of_the_size_of_the_model(source):
    logits = prepare_exported(exported_form(source, 4))()
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (4, 3)


def test_it_is_of_the_architecture_with_its_costs_and_image_size():
    found = architecture("mixer_nano")
    form = ExportedForm("exported", 8, "fp32", (32, 32), found.parameters, found.macs)
    assert form.is_of(found)
    assert not replace(form, image_size=(64, 64)).is_of(found)
    assert not form.is_of(architecture("mixer_nano", classes=3))


def test_exported_models_are_separate_and_can_not_train(source):
    assert split_exported([source, "mixer_nano"], "inference") == (["mixer_nano"], [source])
    with pytest.raises(UserError, match="is an exported model, which can't be trained: leave it out, or give its run"):
        split_exported(["mixer_nano", source], "training")
