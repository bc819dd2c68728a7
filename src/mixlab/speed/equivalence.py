"""Compares faster modules, and compiled models, with the stock ones on real images, before a plan is used."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.speed.plan import ComputeMode
from mixlab.speed.training_rewrites import TrainingRewrites

_MAX_IMAGES = 8

_MAX_ERROR_RATIO, _TOLERANCE = 2.0, 1e-4
"""A replaced module may have this multiple of the stock module's error in the same precision, plus this tolerance."""

_MIN_SCALE = 0.01
"""A gradient that is smaller than this fraction of a model's typical one is compared on the scale of this fraction.
Some gradients, such as that of a bias before a normalisation, are zero but for rounding."""


@dataclass(frozen=True)
class Arguments:
    """The arguments of a module in a forward pass: its inputs, and others such as the size of a map."""

    inputs: Tensor
    others: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def in_float64(self) -> "Arguments":
        """The same numbers, with all floating-point tensors in float64."""
        keywords = {name: _in_float64(value) for name, value in self.keywords.items()}
        return Arguments(self.inputs.double(), tuple(map(_in_float64, self.others)), keywords)


def _in_float64(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def equals_stock(
    model: nn.Module, images: Float[Tensor, "image channel row column"], rewrites: TrainingRewrites, mode: ComputeMode
) -> bool:
    """Whether the modules that `rewrites` changes in `model` have the outputs and gradients of the stock ones.

    The parameters and buffers must also have the same names. One module of each kind is compared, with the inputs that
    it gets in `model` for the first images. Errors are L2 norms, of the outputs and of each gradient, relative to the
    stock module in float64: its own rounding errors in fp32 can be larger than those of a faster module.

    model  a stock model in training mode, which does not change
    """
    model, images = with_same_parameters(model), images[:_MAX_IMAGES]
    rewritten = rewrites.apply(with_same_parameters(model), len(images))
    if [*rewritten.state_dict()] != [*model.state_dict()]:
        return False
    names = [*_replaced(model, rewritten), *rewrites.changed_by_context(model, images)]
    changed = _first_of_each_kind(rewritten, names)
    stock = {name: model.get_submodule(name) for name in changed}
    given = arguments_of(model, images, stock)
    return all(
        module_equals_stock(rewritten.get_submodule(name), stock[name], given[name], mode, rewrites.forward_context)
        for name in changed
    )


def with_same_parameters(model: nn.Module) -> nn.Module:
    """A copy of `model`, of its buffers too, with the parameters of `model` themselves, which can be large."""
    return copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})


def module_equals_stock(
    module: nn.Module,
    stock: nn.Module,
    given: Arguments,
    mode: ComputeMode,
    context: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> bool:
    """Whether `module` has the outputs and gradients of `stock` for the arguments in fp32, as in `equals_stock`.

    context  of the forward pass of `module`
    """
    exact = _outputs_and_gradients(copy.deepcopy(stock).double(), given.in_float64(), ComputeMode())
    scales = [float(tensor.norm()) for tensor in exact]
    allowed = _errors(_outputs_and_gradients(stock, given, mode), exact, scales)
    with context():
        found = _outputs_and_gradients(module, given, mode)
    return _is_within(_errors(found, exact, scales), allowed)


def compiled_equals_eager(
    compiled: nn.Module, eager: nn.Module, images: Float[Tensor, "image channel row column"], mode: ComputeMode
) -> bool:
    """Whether a compiled model has the logits of the eager one, and the gradients of all parameters.

    Errors are relative to the eager model in fp32, as in `equals_stock`. Both models must be in training mode. Their
    weights do not change, but their running statistics do.
    """
    with _without_tf32():
        exact = _logits_and_gradients(eager, images, ComputeMode())
    _, *gradients = exact
    typical = (sum(float(each.norm()) ** 2 for each in gradients) / sum(each.numel() for each in gradients)) ** 0.5
    least = [0.0, *(_MIN_SCALE * typical * each.numel() ** 0.5 for each in gradients)]
    scales = [max(float(each.norm()), scale) for each, scale in zip(exact, least, strict=True)]
    allowed = _errors(_logits_and_gradients(eager, images, mode), exact, scales)
    return _is_within(_errors(_logits_and_gradients(compiled, images, mode), exact, scales), allowed)


def _is_within(errors: Sequence[float], stock_errors: Sequence[float]) -> bool:
    return all(  # an error that is not a number is too large
        error <= _MAX_ERROR_RATIO * stock_error + _TOLERANCE
        for error, stock_error in zip(errors, stock_errors, strict=True)
    )


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Within the context, fp32 is fp32 on a GPU as well: by default, convolutions round their inputs to TF32."""
    backends: list[Any] = [torch.backends.cudnn, torch.backends.cuda.matmul]
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def _replaced(stock: nn.Module, rewritten: nn.Module) -> list[str]:
    """The names of the outermost modules of `stock` that have another type in `rewritten`."""
    changed = [
        name for name, module in rewritten.named_modules() if type(module) is not type(stock.get_submodule(name))
    ]
    return [name for name in changed if not any(name.startswith(f"{outer}.") for outer in changed)]


def _first_of_each_kind(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Of modules with the same types, also of the modules in them, and shapes of parameters, only the first."""
    first: dict[tuple[object, ...], str] = {}
    for name in names:
        module = model.get_submodule(name)
        kind = *map(type, module.modules()), *(parameter.shape for parameter in module.parameters())
        first.setdefault(kind, name)
    return list(first.values())


def arguments_of(model: nn.Module, images: Tensor, modules: Mapping[str, nn.Module]) -> dict[str, Arguments]:
    """What each module that is called in a forward pass of `model` gets. The running statistics of `model` change."""
    found: dict[str, Arguments] = {}

    def keep(name: str, _: nn.Module, given: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        inputs, *others = given
        found[name] = Arguments(inputs.clone(), tuple(others), keywords)

    handles = [
        module.register_forward_pre_hook(partial(keep, name), with_kwargs=True) for name, module in modules.items()
    ]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return found


def _outputs_and_gradients(module: nn.Module, given: Arguments, mode: ComputeMode) -> list[Tensor]:
    inputs = given.inputs.clone().requires_grad_()
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return _outputs_and_gradients_of(module, replace(given, inputs=inputs), [inputs, *parameters], mode)


def _logits_and_gradients(model: nn.Module, images: Tensor, mode: ComputeMode) -> list[Tensor]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    given = Arguments(images.contiguous(memory_format=mode.memory_format))
    return _outputs_and_gradients_of(model, given, parameters, mode)


def _outputs_and_gradients_of(
    module: nn.Module, given: Arguments, parameters: Sequence[Tensor], mode: ComputeMode
) -> list[Tensor]:
    device = given.inputs.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)  # stochastic depth draws the same
        with mode.autocast(device):
            outputs = module(given.inputs, *given.others, **given.keywords)
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0)).to(device)
    return [outputs.detach(), *torch.autograd.grad((outputs * weights).sum(), parameters)]


def _errors(found: Sequence[Tensor], exact: Sequence[Tensor], scales: Sequence[float]) -> list[float]:
    """The L2 norms of the differences, relative to `scales`."""
    return [
        float((value - reference).norm()) / scale if scale else float(value.norm())
        for value, reference, scale in zip(found, exact, scales, strict=True)
    ]
