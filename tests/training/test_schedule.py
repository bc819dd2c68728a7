"""The schedule, beside the formulas of the codes that the papers' recipes come from, written out."""

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
def test_a_warm_up_is_as_long_counted_in_shares_in_steps_or_in_epochs(schedule):
    assert shares(schedule) == pytest.approx(shares(Schedule(warmup=0.2)))


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("warmup", [0.0, 0.9])
def test_the_only_step_of_a_training_is_at_the_peak(name, warmup):
    assert shares(Schedule(name=name, final_factor=0.25, warmup=warmup), steps=1) == [1.0]


@pytest.mark.parametrize("end", [1e-5, 0.3])
def test_a_line_with_warm_up_is_that_of_big_vision_a_step_later(end):
    """The peak is 1 there as well: the rate is multiplied with it behind."""
    schedule, warmup = Schedule(name="linear", warmup_steps=20, final_factor=end), 20

    def big_vision(step: int) -> float:
        progress = min(max((step - warmup) / (STEPS - warmup), 0), 1)
        return (end + (1 - end) * (1 - progress)) * min(1, step / warmup)

    assert shares(schedule) == pytest.approx([big_vision(step + 1) for step in range(STEPS)])


def test_the_ten_thousand_steps_of_mixer_s_warm_up_end_at_the_peak():
    schedule, steps = Schedule(name="linear", warmup_steps=10_000, final_factor=1e-5), 300 * 310
    at = {step: lr_factor(schedule, step - 1, steps, 310) for step in (1, 5_000, 10_000, 51_500, steps)}
    assert at == pytest.approx({1: 1e-4, 5_000: 0.5, 10_000: 1.0, 51_500: (1 + 1e-5) / 2, steps: 1e-5})


def test_a_cosine_with_warm_up_is_that_of_vit_jax_a_step_later():
    def vit_jax(step: int, warmup: int = 20) -> float:
        progress = min(max((step - warmup) / (STEPS - warmup), 0), 1)
        return 0.5 * (1 + math.cos(math.pi * progress)) * min(1, step / warmup)

    assert shares(Schedule(warmup_steps=20)) == pytest.approx([vit_jax(step + 1) for step in range(STEPS)])


@pytest.mark.parametrize("epochs", [25, 100, 150])
def test_knots_are_convmixer_s_one_cycle(epochs):
    """At epoch + (step of it + 1) / steps of it, in both of the authors' codes."""
    schedule = Schedule(name="piecewise", knots=((0, 0), (0.4, 1), (0.8, 0.05), (1, 0)))
    steps_per_epoch = 4
    theirs = [
        np.interp(epoch + (step + 1) / 4, [0, epochs * 2 // 5, epochs * 4 // 5, epochs], [0, 1, 1 / 20, 0])
        for epoch in range(epochs)
        for step in range(steps_per_epoch)
    ]
    assert shares(schedule, epochs * steps_per_epoch, steps_per_epoch) == pytest.approx(theirs)


def test_a_cosine_by_epochs_with_cool_down_is_timm_s_as_davit_s_authors_set_it():
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


def test_a_fall_from_the_start_is_by_its_share_at_the_warm_up_s_end():
    background = shares(Schedule(name="linear", warmup=0.2, decay_start="start"))[19:]
    assert background == pytest.approx([1 - step / STEPS for step in range(20, 101)])


def test_without_a_warm_up_the_first_step_is_one_step_of_the_fall():
    assert shares(Schedule(name="linear"))[0] == 0.99


def recipe(**given: Any):
    fields = {"model": "mixer_nano", "data": "", "optimizer": {"learning_rate": 0.1, "weight_decay": 0}}
    return parse_training_recipe(fields | given, "mine.toml")


@pytest.mark.parametrize(("length", "steps"), [({"epochs": 3}, 15), ({"steps": 7}, 7)])
def test_the_epochs_of_the_cool_down_are_added_to_the_training_s_length(length, steps):
    assert total_steps(recipe(**length), 5) == steps
    assert total_steps(recipe(**length, schedule={"final_factor": 0.1, "cooldown_epochs": 2}), 5) == steps + 10


def test_a_warm_up_longer_than_this_training_is_refused():
    with pytest.raises(
        UserError, match=r"^the warm-up of 40 steps is not shorter than the training of 15 steps: train longer"
    ):
        total_steps(recipe(epochs=3, schedule={"warmup_steps": 40}), 5)
