"""A recipe's sections refuse what can't go together and what would change nothing; what mixlab writes is none of it."""

import re

import pytest

from mixlab.errors import UserError
from mixlab.training.recipes.parse import apply_overrides, parse_training_recipe

SGD, MUON = "optimizer.name=sgd", "optimizer.name=muon"
PIECEWISE, KNOTS = "schedule.name=piecewise", "schedule.knots=[[0, 0], [0.4, 1], [1, 0]]"
SIGMOID = "loss.name=sigmoid"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["optimizer.momentum=0.8"],
            'optimizer.momentum=0.8 changes nothing here: it needs optimizer.name="sgd" or "muon". Leave it out.',
        ),
        ([SGD, "optimizer.epsilon=1e-3"], "optimizer.epsilon=0.001 changes nothing here: it needs optimizer.name="),
        ([SGD, "optimizer.betas=[0.8, 0.9]"], "optimizer.betas=(0.8, 0.9) changes nothing here: it needs optimizer"),
        (
            [SGD, "optimizer.decoupled_decay=true"],
            "optimizer.decoupled_decay=true does not go with sgd, whose decay is a part of the gradient",
        ),
        (
            ["optimizer.layer_decay=1.5"],
            "optimizer.layer_decay=1.5 is not possible: it must be less than or equal to 1.",
        ),
        (["optimizer.clip_norm=0"], "optimizer.clip_norm=0 is not possible: it must be greater than 0."),
        (["optimizer.sam_rho=-1"], "optimizer.sam_rho=-1 is not possible: it must be greater than 0."),
        (
            [KNOTS],
            'schedule.knots=((0.0, 0.0), (0.4, 1.0), (1.0, 0.0)) changes nothing here: it needs schedule.name="p',
        ),
        ([PIECEWISE], "schedule.knots=None are no course: they are pairs (share of the training, share of the peak),"),
        ([PIECEWISE, "schedule.knots=[[0.1, 0], [1, 1]]"], "schedule.knots=[[0.1, 0.0], [1.0, 1.0]] are no course: "),
        ([PIECEWISE, "schedule.knots=[[0, 1], [0.9, 0]]"], "schedule.knots=[[0.0, 1.0], [0.9, 0.0]] are no course: "),
        (
            [PIECEWISE, "schedule.knots=[[0, 0], [0.8, 1], [0.4, 1], [1, 0]]"],
            "schedule.knots=[[0.0, 0.0], [0.8, 1.0], [0.4, 1.0], [1.0, 0.0]] are no course: ",
        ),
        ([PIECEWISE, "schedule.knots=[]"], "schedule.knots=() are no course: "),
        (
            [PIECEWISE, "schedule.knots=[[0, 2], [1, 0]]"],
            "schedule.knots=2 is not possible: it must be less than or equal to 1.",
        ),
        (
            [PIECEWISE, KNOTS, "schedule.warmup=0.1"],
            'schedule.warmup=0.1 changes nothing here: it needs schedule.name="cosine" or "linear", since knots',
        ),
        (
            [PIECEWISE, KNOTS, "schedule.final_factor=0.1"],
            'schedule.final_factor=0.1 changes nothing here: it needs schedule.name="co',
        ),
        (
            ["schedule.warmup=0.1", "schedule.warmup_steps=2"],
            "schedule has both warmup and warmup_steps, two lengths of one warm-up: leave one out.",
        ),
        (
            ["schedule.warmup_steps=2", "schedule.warmup_epochs=1"],
            "schedule has both warmup_steps and warmup_epochs, two lengths of one warm-up: leave one out.",
        ),
        (
            ["schedule.warmup_factor=0.1"],
            "schedule.warmup_factor=0.1 changes nothing here: it needs a warm-up, such as sched",
        ),
        (
            ["schedule.decay_start=start"],
            "schedule.decay_start='start' changes nothing here: it needs a warm-up, such as s",
        ),
        (["schedule.warmup=1.0"], "schedule.warmup=1.0 is not possible: it must be less than 1."),
        (["steps=6", "schedule.warmup_steps=6"], "schedule.warmup_steps=6 leaves nothing of steps=6: it must be less."),
        (["epochs=5", "schedule.warmup_epochs=20"], "schedule.warmup_epochs=20 leaves nothing of epochs=5: it must be"),
        (
            ["schedule.cooldown_epochs=3"],
            "schedule.cooldown_epochs=3 would learn nothing, as the rate has fallen to 0: give schedule.final_factor,",
        ),
        (
            [PIECEWISE, KNOTS, "schedule.cooldown_epochs=3"],
            "schedule.cooldown_epochs=3 would learn nothing, as the rate has fallen to 0: ",
        ),
        (
            ["loss.head_bias=-6.9"],
            'loss.head_bias=-6.9 changes nothing here: it needs loss.name="sigmoid". Leave it out.',
        ),
        (
            ["loss.class_weights=[1, 0]"],
            "loss.class_weights=[1, 0] is not possible: it must be 'balanced' or greater than 0.",
        ),
        (["loss.label_smoothing=1"], "loss.label_smoothing=1 is not possible: it must be less than 1."),
        (["ema.decay=1"], "ema.decay=1 is not possible: it must be less than 1."),
        (
            ["distillation.teacher=a", "distillation.weight=0"],
            "distillation.weight=0 asks a teacher and does not listen: leave out the section, or give 0.5.",
        ),
        (
            ["distillation.teacher=a", "distillation.target=hard", "distillation.temperature=4"],
            'distillation.temperature=4.0 changes nothing here: it needs distillation.target="soft". Leave it out.',
        ),
        (
            ["config.image_size=64"],
            "image_size=8 and config.image_size=64 are two sizes of one image: leave out the la",
        ),
        (
            ["precision=fp16", MUON],
            'optimizer.name="muon" and precision="fp16" do not go together: the scale of fp16\'s gradients is',
        ),
        (
            ["precision=fp16", "optimizer.sam_rho=0.05"],
            'optimizer.sam_rho=0.05 and precision="fp16" do not go together: the scale of fp16\'s gradients is',
        ),
        (
            ["precision=fp16", "non_finite=skip"],
            'non_finite="skip" and precision="fp16" do not go together: fp16\'s scale is found by leaving such steps',
        ),
        (
            ["parallel=fsdp", MUON],
            'optimizer.name="muon" and parallel="fsdp" do not go together: muon needs whole matrices.',
        ),
        (["checkpoints.keep=0"], "checkpoints.keep=0 is not possible: it must be greater than or equal to 1."),
        (["trackers=[tensorbord]"], "trackers='[tensorbord]' is not possible: it must be a list."),
    ],
)
def test_what_can_t_be_or_changes_nothing_is_refused(tiny_recipe, settings, sentence):
    with pytest.raises(UserError, match=rf"^mine\.toml: {re.escape(sentence)}"):
        parse_training_recipe(apply_overrides(tiny_recipe, settings), "mine.toml")


@pytest.mark.parametrize(
    "settings",
    [
        [SGD, "optimizer.momentum=0.8"],
        [MUON, "optimizer.momentum=0.8", "optimizer.epsilon=1e-3"],
        [PIECEWISE, KNOTS],
        ["schedule.warmup_epochs=0.5", "schedule.warmup_factor=0.1", "schedule.decay_start=start"],
        ["schedule.final_factor=0.1", "schedule.cooldown_epochs=2"],
        [SIGMOID, "loss.head_bias=-6.9"],
        ["config.image_size=[8, 8]"],
        ["distillation.teacher=a", "distillation.target=hard"],
    ],
)
def test_what_goes_together_is_taken_and_taken_again_as_it_was_written(tiny_recipe, settings):
    recipe = parse_training_recipe(apply_overrides(tiny_recipe, settings), "mine.toml")
    assert parse_training_recipe(recipe.to_dict(), "again") == recipe
