"""Compares the replaced modules of a model with the stock ones on real images, before a plan is used."""

import copy
from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.speed.plan import ComputeMode
from mixlab.speed.training_rewrites import TrainingRewrites

_MAX_IMAGES = 8

_MAX_ERROR_RATIO, _TOLERANCE = 2.0, 1e-4
"""A replaced module may have this multiple of the stock module's error in the same precision, plus this tolerance."""


def equals_stock(
    model: nn.Module, images: Float[Tensor, "image channel row column"], rewrites: TrainingRewrites, mode: ComputeMode
) -> bool:
    """Whether the modules that `rewrites` replaces in `model` have the outputs and gradients of the stock ones.

    One module of each kind is compared, with the inputs that it gets in `model` for the first images. Errors are
    relative to the stock module in fp32 (L2 norms, of the outputs and of each gradient).

    model  a stock model in training mode, which does not change
    """
    model = copy.deepcopy(model)
    rewritten = rewrites.apply(copy.deepcopy(model))
    replaced = _replaced_modules(model, rewritten)
    inputs = _inputs(model, images[:_MAX_IMAGES], replaced)
    for name, stock in replaced.items():
        exact = _outputs_and_gradients(stock, inputs[name], ComputeMode())
        allowed = _errors(_outputs_and_gradients(stock, inputs[name], mode), exact)
        found = _errors(_outputs_and_gradients(rewritten.get_submodule(name), inputs[name], mode), exact)
        if any(
            not error <= _MAX_ERROR_RATIO * stock_error + _TOLERANCE  # an error that is not a number is too large
            for error, stock_error in zip(found, allowed, strict=True)
        ):
            return False
    return True


def _replaced_modules(stock: nn.Module, rewritten: nn.Module) -> dict[str, nn.Module]:
    """The outermost modules of `stock` that have another type in `rewritten`, by name: the first of each kind."""
    changed = [
        name for name, module in rewritten.named_modules() if type(module) is not type(stock.get_submodule(name))
    ]
    outermost = [name for name in changed if not any(name.startswith(f"{outer}.") for outer in changed)]
    first_of_kind: dict[tuple[object, ...], str] = {}
    for name in outermost:
        module = rewritten.get_submodule(name)
        first_of_kind.setdefault((type(module), *(parameter.shape for parameter in module.parameters())), name)
    return {name: stock.get_submodule(name) for name in first_of_kind.values()}


def _inputs(model: nn.Module, images: Tensor, modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """What each module gets in a forward pass."""
    found: dict[str, Tensor] = {}

    def keep(name: str, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        found[name] = given[0].clone()

    handles = [module.register_forward_pre_hook(partial(keep, name)) for name, module in modules.items()]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return found


def _outputs_and_gradients(module: nn.Module, inputs: Tensor, mode: ComputeMode) -> list[Tensor]:
    inputs = inputs.clone().requires_grad_()
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # stochastic depth draws the same
        with mode.autocast(inputs.device):
            outputs = module(inputs).float()
        weights = torch.randn(outputs.shape)
    gradients = torch.autograd.grad((outputs * weights).sum(), [inputs, *parameters])
    return [outputs.detach(), *gradients]


def _errors(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    return [float((value - reference).norm() / reference.norm()) for value, reference in zip(found, exact, strict=True)]
