"""Distillation: the preprocessing for the teacher, and the loss compared with its formulas."""

import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mixlab.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from mixlab.errors import UserError
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import objective
from mixlab.training.distillation import Teacher, distilled_loss
from mixlab.training.loop import train
from mixlab.training.recipes.schema import Distillation
from mixlab.weights.load import load

LOGITS, TEACHER = torch.tensor([[1.0, -1.0], [0.5, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 0.0]])


def settings(**given: Any) -> Distillation:
    return Distillation.model_validate({"teacher": "any"} | given)


def test_the_soft_loss_is_the_divergence_at_the_temperature_times_its_square():
    own, others = (LOGITS / 4).softmax(dim=1), (TEACHER / 4).softmax(dim=1)
    divergence = (others * (others / own).log()).sum(dim=1).mean()
    expected = 0.75 * 2.0 + 0.25 * 16 * divergence
    found = distilled_loss(LOGITS, TEACHER, torch.tensor(2.0), settings(weight=0.25, temperature=4))
    torch.testing.assert_close(found, expected)


def test_the_hard_target_is_the_predicted_class_of_the_teacher():
    expected = 0.5 * 2.0 + 0.5 * -LOGITS.log_softmax(dim=1)[:, 0].mean()
    found = distilled_loss(LOGITS, TEACHER, torch.tensor(2.0), settings(target="hard"))
    torch.testing.assert_close(found, expected)


def test_equal_logits_have_no_distillation_loss():
    assert distilled_loss(LOGITS, LOGITS, torch.tensor(2.0), settings(weight=1.0)).item() == pytest.approx(0, abs=1e-7)


@pytest.fixture
def finished(make_job, tmp_path):
    """A trained run on the shades, and its job."""
    job = make_job(
        "steps=2", "preprocessing.mean=[0.4, 0.5, 0.6]", "preprocessing.std=[0.2, 0.3, 0.4]", "schedule.final_factor=1"
    )
    return str(train(job, Plan("cpu", ComputeMode(), 8), tmp_path / "run", quiet=True).path), job


def test_images_are_normalised_for_the_teacher(finished):
    path, job = finished
    student = replace(job.preprocess, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    teacher = Teacher(settings(teacher=path), job.dataset.classes, student, "cpu")
    expected = load(path)(job.preprocess.normalised(images))
    assert expected.std() > 0  # the head is not constant, so other images have other logits
    torch.testing.assert_close(teacher(student.normalised(images)), expected.detach(), rtol=1e-5, atol=1e-6)


def test_images_are_resized_for_the_teacher(finished):
    path, job = finished
    teacher = Teacher(settings(teacher=path), job.dataset.classes, replace(job.preprocess, image_size=(16, 16)), "cpu")
    large = torch.rand(2, 3, 16, 16)
    expected = load(path)(torch.nn.functional.interpolate(large, (8, 8), mode="bilinear", antialias=True))
    torch.testing.assert_close(teacher(large), expected.detach())


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (("dark", "light", "grey"), "has 2 classes, but the data have 3: give a teacher"),
        (
            ("dark", "bright"),
            'has other classes .* its class 1 is "light", that of the data is "bright"\\. Give a teacher',
        ),
    ],
)
def test_a_teacher_with_other_classes_is_refused(finished, classes, sentence):
    path, job = finished
    with pytest.raises(UserError, match=rf"^distillation\.teacher='.*' {sentence}"):
        Teacher(settings(teacher=path), classes, job.preprocess, "cpu")


def test_only_the_number_of_unnamed_classes_is_compared(finished):
    path, job = finished
    assert Teacher(settings(teacher=path), ("0", "1"), job.preprocess, "cpu")(torch.zeros(1, 3, 8, 8)).shape == (1, 2)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_teacher_computes_in_the_precision_of_the_plan(finished, make_job, tmp_path, monkeypatch, precision, dtype):
    path, _ = finished
    dtypes = []

    def recording(logits: Tensor, teacher: Tensor, *others: Any) -> Tensor:
        dtypes.append(teacher.dtype)
        return distilled_loss(logits, teacher, *others)

    monkeypatch.setattr(objective, "distilled_loss", recording)
    job = make_job(f"distillation.teacher={path}", "steps=2")
    train(job, Plan("cpu", ComputeMode(precision), 8), tmp_path / "student", quiet=True)
    assert dtypes == [dtype, dtype]


def test_the_weights_of_the_teacher_identify_a_training(make_job, tmp_path):
    teacher = train(make_job(), Plan("cpu", ComputeMode(), 8), tmp_path / "teacher", quiet=True)
    job = make_job(f"distillation.teacher={teacher.path}", "seed=1")
    assert job.recipe.distillation is not None and job.recipe.distillation.sha256 is not None
    shutil.copytree(teacher.path, tmp_path / "copy")
    assert make_job(f"distillation.teacher={tmp_path / 'copy'}", "seed=1").folder() == job.folder()
    other = train(make_job("seed=2"), Plan("cpu", ComputeMode(), 8), tmp_path / "other", quiet=True)
    assert make_job(f"distillation.teacher={other.path}", "seed=1").folder() != job.folder()
    expected = f"distillation.sha256={job.recipe.distillation.sha256}"
    with pytest.raises(UserError, match=r"other holds other weights than the recipe expects: .* remove distillation\."):
        make_job(f"distillation.teacher={other.path}", expected)


def test_the_teacher_is_found_from_another_folder(make_job, tmp_path, monkeypatch):
    train(make_job(), Plan("cpu", ComputeMode(), 8), tmp_path / "teacher", quiet=True)
    monkeypatch.chdir(tmp_path)
    distillation = make_job("distillation.teacher=teacher").recipe.distillation
    assert distillation is not None and distillation.teacher == str(tmp_path / "teacher")
