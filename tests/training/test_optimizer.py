"""The optimiser: what decays, and that the recipe's settings reach it."""

from typing import Any

import pytest
import torch
from torch import nn

from mixlab.training.optimizer import build_optimizer
from mixlab.training.sections import Optimizer
from mixlab.zoo.build import create_model


def settings(**given: Any) -> Optimizer:
    return Optimizer.model_validate({"learning_rate": 0.1, "weight_decay": 0.3} | given)


@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano", "davit_nano"])
def test_matrices_and_kernels_decay_while_biases_and_norms_do_not(name):
    model = create_model(name, depths=(1, 1)) if name == "davit_nano" else create_model(name, depth=1)
    decay_of = {
        parameter: group["weight_decay"]
        for group in build_optimizer(settings(), model).param_groups
        for parameter in group["params"]
    }
    norms = (nn.LayerNorm, nn.BatchNorm2d)
    for module in model.modules():
        for kind, parameter in module.named_parameters(recurse=False):
            decays = kind == "weight" and not isinstance(module, norms)
            assert decay_of.pop(parameter) == (0.3 if decays else 0.0), (module, kind)
    assert not decay_of


def test_a_frozen_parameter_is_left_out():
    model = nn.Linear(3, 2)
    model.bias.requires_grad = False
    groups = build_optimizer(settings(), model).param_groups
    assert [list(group["params"]) for group in groups] == [[model.weight], []]


def test_adamw_has_the_recipe_s_settings():
    optimizer = build_optimizer(settings(betas=[0.8, 0.9], epsilon=1e-6), nn.Linear(3, 2))
    assert isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.1, (0.8, 0.9), 1e-6)


def test_sgd_has_the_recipe_s_settings():
    optimizer = build_optimizer(settings(name="sgd", momentum=0.7), nn.Linear(3, 2))
    assert isinstance(optimizer, torch.optim.SGD)
    assert [(group["lr"], group["momentum"]) for group in optimizer.param_groups] == [(0.1, 0.7)] * 2
