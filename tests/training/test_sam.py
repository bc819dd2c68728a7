"""Sharpness-aware minimisation: steps compared with the formula of the paper."""

import copy
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import step
from mixlab.training.loop import train
from mixlab.training.sam import perturbed

RHO, RATE = 0.05, 0.1


def loss(weight: Tensor, bias: Tensor) -> Tensor:
    return (weight**4).sum() + (weight.sum() - bias).square().sum()


@pytest.fixture
def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor([[0.5, -1.0], [2.0, 0.1]])), nn.Parameter(torch.tensor([0.3, -0.7]))]


def with_gradients(parameters: list[nn.Parameter]) -> list[Tensor]:
    loss(*parameters).backward()
    return [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]


def test_a_step_equals_the_formula_of_the_paper(parameters):
    """w - rate * (gradient of the loss at w + rho * g / |g|), with the norm over all parameters."""
    optimizer = torch.optim.SGD(parameters, lr=RATE)
    start = [parameter.detach().clone() for parameter in parameters]
    first = with_gradients(parameters)
    norm = torch.cat([gradient.flatten() for gradient in first]).norm()
    worst = [(w + RHO * g / norm).requires_grad_() for w, g in zip(start, first, strict=True)]
    expected = [w - RATE * g for w, g in zip(start, torch.autograd.grad(loss(*worst), worst), strict=True)]
    with perturbed(parameters, [], RHO):
        loss(*parameters).backward()
    optimizer.step()
    torch.testing.assert_close([parameter.detach() for parameter in parameters], expected)


def test_the_perturbation_has_norm_rho_and_gradients_are_cleared(parameters):
    start = [parameter.detach().clone() for parameter in parameters]
    with_gradients(parameters)
    with perturbed(parameters, [], RHO):
        perturbation = [parameter.detach() - was for parameter, was in zip(parameters, start, strict=True)]
        assert torch.cat([step.flatten() for step in perturbation]).norm().item() == pytest.approx(RHO, rel=1e-5)
        assert all(parameter.grad is None for parameter in parameters)


def test_the_parameters_are_restored_bit_for_bit(parameters):
    start = [parameter.detach().clone() for parameter in parameters]
    with_gradients(parameters)
    with pytest.raises(KeyboardInterrupt), perturbed(parameters, [], RHO):
        raise KeyboardInterrupt
    assert all(torch.equal(parameter, was) for parameter, was in zip(parameters, start, strict=True))


def test_a_zero_gradient_gives_no_perturbation(parameters):
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    start = [parameter.detach().clone() for parameter in parameters]
    with perturbed(parameters, [], RHO):
        assert all(torch.equal(parameter, was) for parameter, was in zip(parameters, start, strict=True))


def test_a_parameter_without_a_gradient_is_not_perturbed(parameters):
    idle = nn.Parameter(torch.ones(3))
    with_gradients(parameters)
    with perturbed([*parameters, idle], [], RHO):
        assert torch.equal(idle, torch.ones(3))


def test_buffers_are_restored(parameters):
    statistics = torch.zeros(2)
    with_gradients(parameters)
    with perturbed(parameters, [statistics], RHO):
        statistics += 1
    assert torch.equal(statistics, torch.zeros(2))


@pytest.mark.parametrize(
    "settings",
    [
        ("config.depth=4", "config.stochastic_depth=0.5"),
        (
            "model=convmixer_nano",
            "config={ patch_size = 2, kernel_size = 3, channels = 8, depth = 1 }",
        ),
    ],
    ids=["stochastic depth", "batch normalisation"],
)
def test_with_a_tiny_rho_both_passes_have_the_same_gradients(make_job, tmp_path, monkeypatch, settings):
    """Both passes drop the same branches, and batch normalisation tracks the first pass only."""
    accumulate_gradients, seen = step.accumulate_gradients, []

    def recording(model: nn.Module, *arguments: Any, **options: Any) -> Any:
        result = accumulate_gradients(model, *arguments, **options)
        seen.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
        cached.append(copy.deepcopy(dict(model.named_buffers())))
        return result

    cached: list[dict[str, Tensor]] = []
    monkeypatch.setattr(step, "accumulate_gradients", recording)
    job = make_job(*settings, "optimizer.sam_rho=1e-12", "steps=1", "validation=merged", "schedule.final_factor=1")
    run = train(job, Plan("cpu", ComputeMode(), 8), tmp_path / "run", quiet=True)
    first, second = seen
    assert any(gradient.abs().sum() > 0 for gradient in first)
    torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-7)
    saved = load_file(run.weights)
    assert all(torch.equal(saved[name], value) for name, value in cached[0].items())


@pytest.mark.usefixtures("group_of_one")
def test_sharded_parameters_are_perturbed_and_restored():
    model = nn.Linear(3, 2)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    shards = list(model.parameters())
    model(torch.ones(4, 3)).square().sum().backward()
    with perturbed(shards, [], RHO):
        perturbation = [whole(shard) - was for shard, was in zip(shards, start, strict=True)]
        assert torch.cat([step.flatten() for step in perturbation]).norm().item() == pytest.approx(RHO, rel=1e-5)
    assert all(torch.equal(whole(shard), was) for shard, was in zip(shards, start, strict=True))


def whole(shard: Tensor) -> Tensor:
    assert isinstance(shard, DTensor)
    return shard.full_tensor().detach()
