"""Every setting of the loss and of a step affects the training."""

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
def test_a_setting_changes_the_training(make_job, tmp_path: Path, setting: str):
    plain = train(make_job("config.depth=2"), PLAN, tmp_path / "plain", quiet=True)
    changed = train(make_job("config.depth=2", setting), PLAN, tmp_path / "changed", quiet=True)
    assert losses(plain) != losses(changed)


def test_a_teacher_changes_the_training(make_job, tmp_path: Path):
    teacher = train(make_job("epochs=8"), PLAN, tmp_path / "teacher", quiet=True)
    alone = make_job("epochs=2", "seed=1")
    taught = make_job("epochs=2", "seed=1", f"distillation={{ teacher = '{teacher.path}', weight = 1.0 }}")
    images, labels = next(alone.training_batches(quiet=True).epoch(0)).on(CPU)
    objective = make_objective(taught, CPU)
    logits = objective.teacher[0](images)  # pyright: ignore[reportOptionalSubscript]
    assert objective(logits, images, objective.targets(labels)).item() == pytest.approx(0, abs=1e-6)
    assert losses(train(alone, PLAN, tmp_path / "alone", quiet=True)) != losses(
        train(taught, PLAN, tmp_path / "taught", quiet=True)
    )


def test_a_wrong_number_of_class_weights_is_refused_before_the_first_step(make_job, tmp_path: Path):
    with pytest.raises(UserError, match=r"loss\.class_weights has 3 weights for 2 classes"):
        train(make_job("loss.class_weights=[1.0, 2.0, 3.0]"), PLAN, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
