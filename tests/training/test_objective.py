"""All that a recipe can ask of a step reaches it, and a run of it goes on as any other."""

from pathlib import Path

import pytest
import torch

from mixlab.errors import UserError
from mixlab.runs.history import read_history
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.loop import train
from mixlab.training.objective import make_objective

PLAN = Plan("cpu", ComputeMode(), 8)
CPU = torch.device("cpu")


def losses(run) -> list[float]:
    return [line["train"]["loss"] for line in read_history(run.journal).epochs]


@pytest.mark.parametrize(
    "setting",
    [
        "loss.name=sigmoid",
        "loss.class_weights=[1.0, 3.0]",
        "optimizer.sam_rho=0.5",
        "augmentation.mixup={ alpha = 0.5 }",
        "augmentation.mixup_or_cutmix={ mixup = 0.8, cutmix = 1.0 }",
        "augmentation.random_erasing={ probability = 1.0 }",
        "optimizer.layer_decay=0.5",
        "optimizer.weight_decay=5.0",
        "optimizer.decoupled_decay=true",
    ],
)
def test_a_setting_reaches_the_weights(make_job, tmp_path: Path, setting: str):
    plain = train(make_job("config.depth=2"), PLAN, tmp_path / "plain", quiet=True)
    asked = train(make_job("config.depth=2", setting), PLAN, tmp_path / "asked", quiet=True)
    assert losses(plain) != losses(asked)


def test_a_teacher_draws_the_student_to_its_answers(make_job, tmp_path: Path):
    teacher = train(make_job("epochs=8"), PLAN, tmp_path / "teacher", quiet=True)
    alone = make_job("epochs=2", "seed=1")
    taught = make_job("epochs=2", "seed=1", f"distillation={{ teacher = '{teacher.path}', weight = 1.0 }}")
    images, labels = next(alone.training_batches(quiet=True).epoch(0)).on(CPU)
    objective = make_objective(taught, CPU)
    answers = objective.teacher[0](images)  # pyright: ignore[reportOptionalSubscript]
    assert objective(answers, images, objective.targets(labels)).item() == pytest.approx(0, abs=1e-6)
    assert losses(train(alone, PLAN, tmp_path / "alone", quiet=True)) != losses(
        train(taught, PLAN, tmp_path / "taught", quiet=True)
    )


def test_class_weights_of_another_length_than_the_classes_are_refused_before_a_step(make_job, tmp_path: Path):
    with pytest.raises(UserError, match=r"loss\.class_weights has 3 weights for 2 classes"):
        train(make_job("loss.class_weights=[1.0, 2.0, 3.0]"), PLAN, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
