"""The learning rate schedule, compared with the formulas in the authors' code."""

import math
from typing import Any

import numpy as np
import pytest
from torch import nn, optim

from mixlab.errors import UserError
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Schedule
from mixlab.training.schedule import lr_factor, total_steps

STEPS = 100


def shares(schedule: Schedule, steps: int = STEPS, steps_per_epoch: int = 10) -> list[float]:
    return [lr_factor(schedule, step, steps, steps_per_epoch) for step in range(steps)]


def test_the_warm_up_is_linear_and_reaches_the_peak_at_its_end():
    assert shares(Schedule(warmup=0.1))[:10] == pytest.approx([0.1 * step for step in range(1, 11)])


@pytest.mark.parametrize("schedule", [Schedule(warmup=0.2), Schedule(warmup_steps=20), Schedule(warmup_epochs=2)])
def test_a_warm_up_can_be_a_fraction_steps_or_epochs(schedule):
    assert shares(schedule) == pytest.approx(shares(Schedule(warmup=0.2)))


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("warmup", [0.0, 0.9])
def test_a_single_step_has_the_peak_learning_rate(name, warmup):
    assert shares(Schedule(name=name, final_factor=0.25, warmup=warmup), steps=1) == [1.0]


@pytest.mark.parametrize("end", [1e-5, 0.3])
def test_the_linear_schedule_with_warm_up_is_that_of_big_vision_one_step_later(end):
    """Its factors are relative to the peak as well."""
    schedule, warmup = Schedule(name="linear", warmup_steps=20, final_factor=end), 20

    def big_vision(step: int) -> float:
        progress = min(max((step - warmup) / (STEPS - warmup), 0), 1)
        return (end + (1 - end) * (1 - progress)) * min(1, step / warmup)

    assert shares(schedule) == pytest.approx([big_vision(step + 1) for step in range(STEPS)])


def test_the_warm_up_of_mixer_ends_at_the_peak_after_ten_thousand_steps():
    schedule, steps = Schedule(name="linear", warmup_steps=10_000, final_factor=1e-5), 300 * 310
    at = {step: lr_factor(schedule, step - 1, steps, 310) for step in (1, 5_000, 10_000, 51_500, steps)}
    assert at == pytest.approx({1: 1e-4, 5_000: 0.5, 10_000: 1.0, 51_500: (1 + 1e-5) / 2, steps: 1e-5})


def test_the_cosine_schedule_with_warm_up_is_that_of_vit_jax_one_step_later():
    def vit_jax(step: int, warmup: int = 20) -> float:
        progress = min(max((step - warmup) / (STEPS - warmup), 0), 1)
        return 0.5 * (1 + math.cos(math.pi * progress)) * min(1, step / warmup)

    assert shares(Schedule(warmup_steps=20)) == pytest.approx([vit_jax(step + 1) for step in range(STEPS)])


@pytest.mark.parametrize("epochs", [25, 100, 150])
def test_the_piecewise_schedule_equals_that_of_convmixer(epochs):
    """Evaluated at epoch + (step in the epoch + 1) / steps per epoch, as in both programs of the authors."""
    schedule = Schedule(name="piecewise", knots=((0, 0), (0.4, 1), (0.8, 0.05), (1, 0)))
    steps_per_epoch = 4
    theirs = [
        np.interp(epoch + (step + 1) / 4, [0, epochs * 2 // 5, epochs * 4 // 5, epochs], [0, 1, 1 / 20, 0])
        for epoch in range(epochs)
        for step in range(steps_per_epoch)
    ]
    assert shares(schedule, epochs * steps_per_epoch, steps_per_epoch) == pytest.approx(theirs)


def test_the_cosine_schedule_per_epoch_with_cool_down_equals_timm_with_the_settings_of_davit():
    scheduler = pytest.importorskip("timm.scheduler")
    peak, epochs, cooldown, steps_per_epoch = 1e-3, 300, 10, 3
    theirs = scheduler.CosineLRScheduler(
        optim.SGD(nn.Linear(1, 1).parameters(), lr=peak), epochs, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-6
    )
    schedule = Schedule(
        warmup_epochs=5,
        warmup_factor=1e-3,
        decay_start="start",
        final_factor=1e-2,
        cooldown_epochs=cooldown,
        update_every="epoch",
    )
    ours = shares(schedule, (epochs + cooldown) * steps_per_epoch, steps_per_epoch)
    rates = [theirs._get_lr(step // steps_per_epoch)[0] / peak for step in range(len(ours))]
    assert ours == pytest.approx(rates)
    assert ours[-cooldown * steps_per_epoch :] == pytest.approx([1e-2] * cooldown * steps_per_epoch)


def test_a_decay_from_the_start_continues_after_the_warm_up():
    factors = shares(Schedule(name="linear", warmup=0.2, decay_start="start"))[19:]
    assert factors == pytest.approx([1 - step / STEPS for step in range(20, 101)])


def test_without_a_warm_up_the_decay_starts_in_the_first_step():
    assert shares(Schedule(name="linear"))[0] == 0.99


def recipe(**given: Any):
    fields = {"model": "mixer_nano", "data": "", "optimizer": {"learning_rate": 0.1, "weight_decay": 0}}
    return parse_training_recipe(fields | given, "mine.toml")


@pytest.mark.parametrize(("length", "steps"), [({"epochs": 3}, 15), ({"steps": 7}, 7)])
def test_the_cool_down_is_added_to_the_length_of_the_training(length, steps):
    assert total_steps(recipe(**length), 5) == steps
    assert total_steps(recipe(**length, schedule={"final_factor": 0.1, "cooldown_epochs": 2}), 5) == steps + 10


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(
        UserError, match=r"^the warm-up of 40 steps is not shorter than the training of 15 steps: train longer"
    ):
        total_steps(recipe(epochs=3, schedule={"warmup_steps": 40}), 5)
