"""The schema refuses conflicting settings and settings without effect; recipes that mixlab writes have none of them."""

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
            ['subset.classes=["dark", "dark"]'],
            "subset.classes=['dark', 'dark'] is no choice: give two or more different classes.",
        ),
        (['subset.classes=["dark"]'], "subset.classes=['dark'] is no choice: give two or more different classes."),
        (["subset.classes=[]"], "subset.classes=[] is no choice: give two or more different classes."),
        (["subset.folds=3"], "subset needs both folds and left_out_fold, or neither: add the other one."),
        (["subset.left_out_fold=0"], "subset needs both folds and left_out_fold, or neither: add the other one."),
        (
            ["subset.folds=3", "subset.left_out_fold=3"],
            "subset.left_out_fold=3 is out of range: the 3 folds are numbered from 0 to 2.",
        ),
        (
            ["optimizer.momentum=0.8"],
            'optimizer.momentum=0.8 has no effect without optimizer.name="sgd" or "muon": remove it.',
        ),
        ([SGD, "optimizer.epsilon=1e-3"], "optimizer.epsilon=0.001 has no effect without optimizer.name="),
        ([SGD, "optimizer.betas=[0.8, 0.9]"], "optimizer.betas=(0.8, 0.9) has no effect without optimizer"),
        (
            [SGD, "optimizer.decoupled_decay=true"],
            'optimizer.decoupled_decay=true is not supported with optimizer.name="sgd", where weight decay is part',
        ),
        (
            ["optimizer.layer_decay=1.5"],
            "optimizer.layer_decay=1.5 is invalid: it must be less than or equal to 1.",
        ),
        (["optimizer.clip_norm=0"], "optimizer.clip_norm=0 is invalid: it must be greater than 0."),
        (["optimizer.sam_rho=-1"], "optimizer.sam_rho=-1 is invalid: it must be greater than 0."),
        (
            [KNOTS],
            'schedule.knots=((0.0, 0.0), (0.4, 1.0), (1.0, 0.0)) has no effect without schedule.name="p',
        ),
        (
            [PIECEWISE],
            "schedule.knots=None is not a schedule: it must be a list of pairs [fraction of the training, factor of",
        ),
        (
            [PIECEWISE, "schedule.knots=[[0.1, 0], [1, 1]]"],
            "schedule.knots=[[0.1, 0.0], [1.0, 1.0]] is not a schedule: ",
        ),
        (
            [PIECEWISE, "schedule.knots=[[0, 1], [0.9, 0]]"],
            "schedule.knots=[[0.0, 1.0], [0.9, 0.0]] is not a schedule: ",
        ),
        (
            [PIECEWISE, "schedule.knots=[[0, 0], [0.8, 1], [0.4, 1], [1, 0]]"],
            "schedule.knots=[[0.0, 0.0], [0.8, 1.0], [0.4, 1.0], [1.0, 0.0]] is not a schedule: ",
        ),
        ([PIECEWISE, "schedule.knots=[]"], "schedule.knots=() is not a schedule: "),
        (
            [PIECEWISE, "schedule.knots=[[0, 2], [1, 0]]"],
            "schedule.knots=2 is invalid: it must be less than or equal to 1.",
        ),
        (
            [PIECEWISE, KNOTS, "schedule.warmup=0.1"],
            'schedule.warmup=0.1 has no effect without schedule.name="cosine" or "linear": remove it.',
        ),
        (
            [PIECEWISE, KNOTS, "schedule.final_factor=0.1"],
            'schedule.final_factor=0.1 has no effect without schedule.name="co',
        ),
        (
            ["schedule.warmup=0.1", "schedule.warmup_steps=2"],
            "schedule has both warmup and warmup_steps, which set the same warm-up: remove one of them.",
        ),
        (
            ["schedule.warmup_steps=2", "schedule.warmup_epochs=1"],
            "schedule has both warmup_steps and warmup_epochs, which set the same warm-up: remove one of them.",
        ),
        (
            ["schedule.warmup_factor=0.1"],
            "schedule.warmup_factor=0.1 has no effect without a warm-up, such as sched",
        ),
        (
            ["schedule.decay_start=start"],
            "schedule.decay_start='start' has no effect without a warm-up, such as s",
        ),
        (["schedule.warmup=1.0"], "schedule.warmup=1.0 is invalid: it must be less than 1."),
        (
            ["steps=6", "schedule.warmup_steps=6"],
            "schedule.warmup_steps=6 is out of range: it must be less than steps=6.",
        ),
        (["epochs=5", "schedule.warmup_epochs=20"], "schedule.warmup_epochs=20 is out of range: it must be less"),
        (
            ["schedule.cooldown_epochs=3"],
            "schedule.cooldown_epochs=3 has no effect with a final learning rate of 0: set schedule.final_factor,",
        ),
        (
            [PIECEWISE, KNOTS, "schedule.cooldown_epochs=3"],
            "schedule.cooldown_epochs=3 has no effect with a final learning rate of 0: ",
        ),
        (
            ["loss.head_bias=-6.9"],
            'loss.head_bias=-6.9 has no effect without loss.name="sigmoid": remove it.',
        ),
        (
            ["loss.class_weights=[1, 0]"],
            "loss.class_weights=[1, 0] is invalid: it must be 'balanced' or greater than 0.",
        ),
        (["loss.label_smoothing=1"], "loss.label_smoothing=1 is invalid: it must be less than 1."),
        (["ema.decay=1"], "ema.decay=1 is invalid: it must be less than 1."),
        (
            ["distillation.teacher=a", "distillation.weight=0"],
            "distillation.weight=0 has no effect: remove [distillation] or set a weight such as 0.5.",
        ),
        (
            ["distillation.teacher=a", "distillation.target=hard", "distillation.temperature=4"],
            'distillation.temperature=4.0 has no effect without distillation.target="soft": remove it.',
        ),
        (
            ["config.image_size=64"],
            "image_size=8 and config.image_size=64 contradict each other: remove config.image_size",
        ),
        (
            ["precision=fp16", MUON],
            'optimizer.name="muon" and precision="fp16" can\'t be combined: gradients of fp16 can be unscaled for',
        ),
        (
            ["precision=fp16", "optimizer.sam_rho=0.05"],
            'optimizer.sam_rho=0.05 and precision="fp16" can\'t be combined: gradients of fp16 can be unscaled once',
        ),
        (
            ["precision=fp16", "non_finite=skip"],
            'non_finite="skip" and precision="fp16" can\'t be combined: the gradient scaler of fp16 skips such steps',
        ),
        (
            ["parallel=fsdp", MUON],
            'optimizer.name="muon" and parallel="fsdp" can\'t be combined: muon needs unsharded matrices.',
        ),
        (["checkpoints.keep=0"], "checkpoints.keep=0 is invalid: it must be greater than or equal to 1."),
        (["trackers=[tensorbord]"], "trackers='[tensorbord]' is invalid: it must be a list."),
    ],
)
def test_invalid_and_ineffective_settings_are_refused(tiny_recipe, settings, sentence):
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
def test_valid_combinations_are_accepted_and_survive_writing(tiny_recipe, settings):
    recipe = parse_training_recipe(apply_overrides(tiny_recipe, settings), "mine.toml")
    assert parse_training_recipe(recipe.to_dict(), "again") == recipe
