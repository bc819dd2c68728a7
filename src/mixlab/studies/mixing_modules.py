"""The modules of a network that mix places or channels, with their inputs for one image.

A place is a cell of the grid of pixels or patches. Each module maps one feature map (place, channel) to another.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mixlab.models.convmixer import ConvMixerBlock
from mixlab.models.davit import ChannelAttention, DaViTBlock, DaViTStage, PatchMerging
from mixlab.models.mixer import MixerBlock
from mixlab.studies.places import Grid, Layout, Places, meta_image
from mixlab.zoo.architecture import Architecture, Model
from mixlab.zoo.timm_models import TimmModel

FIXED = ", attention weights fixed"


@dataclass(frozen=True)
class MixingModule:
    """A module with its input for one image.

    kind          name for tables; modules of a kind do the same in every block
    function      the module
    x             its input, without a batch axis
    layouts       axes of input and output
    grids         (rows, columns) of input and output
    tokens_before tokens without a place, such as a class token
    is_fixed      whether gradients through the attention weights are left out
    """

    kind: str
    function: Callable[[Tensor], Tensor]
    x: Tensor
    layouts: tuple[Layout, Layout]
    grids: tuple[Grid, Grid]
    tokens_before: int = 0
    is_fixed: bool = False

    def rows(
        self, count: int, generator: torch.Generator
    ) -> tuple[Int64[Tensor, " row"], Int64[Tensor, " row"], Float[Tensor, "row place_in channel_in"]]:
        """Random places and channels of the output, and the gradients of these outputs: rows of the Jacobian."""
        inputs = self.x.expand(count, *self.x.shape).clone().requires_grad_()
        context: AbstractContextManager[object] = _FixedAttention() if self.is_fixed else nullcontext()
        with context:
            output = _by_place(self.function(inputs.clone()), self.layouts[1], self.tokens_before)
        places = torch.randint(output.shape[1], (count,), generator=generator)
        channels = torch.randint(output.shape[2], (count,), generator=generator)
        (gradient,) = torch.autograd.grad(output[torch.arange(count), places, channels].sum(), inputs)
        return places, channels, _by_place(gradient, self.layouts[0], self.tokens_before)


class _FixedAttention(TorchFunctionMode):
    """Treats attention weights as constants, so that gradients flow through the values only."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            query, key, *rest = args
            return func(query.detach(), key.detach(), *rest, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        return result.detach() if func in (torch.Tensor.softmax, torch.softmax, F.softmax) else result


def mixing_modules(
    model: Model, built: Architecture, image: Float[Tensor, "channel height width"]
) -> list[MixingModule]:
    """The modules of `model`, an architecture `built`, in the order in which they are applied.

    Modules of the families and of timm have kinds such as "token MLP". In a block of another class, "whole CLASS" is
    the block, and "CLASS.NAME" its attribute NAME. Left out are modules that don't map a single feature map to another
    one, and those that return their input, such as dropout.

    Raises UserError if the architecture can't have images of another size.
    """
    if not (kinds := _kinds(model)):
        return []
    places = Places(built)
    larger = {call.path: call for call in _calls(places.larger, kinds, meta_image(places.larger))}
    found: list[MixingModule] = []
    for call in _calls(model, kinds, image[None]):
        if (other := larger.get(call.path)) is None:
            continue
        given = places.feature_map(call.x.shape, other.x.shape)
        made = places.feature_map(call.output, other.output)
        if given is None or made is None or given.tokens_before != made.tokens_before:
            continue
        kind, grids = kinds[call.path], (given.grid, made.grid)
        one = MixingModule(kind, call.function, call.x[0], (given.layout, made.layout), grids, given.tokens_before)
        found.append(one)
        if kind.endswith(("attention", "attn")):
            found.append(replace(one, kind=kind + FIXED, is_fixed=True))
    return found


@dataclass(frozen=True)
class _Call:
    """A call of the module `path` with the input x; `function` is the module as a function of x alone."""

    path: str
    function: Callable[[Tensor], Tensor]
    x: Tensor
    output: torch.Size


def _calls(model: nn.Module, paths: Iterable[str], images: Tensor) -> list[_Call]:
    """All calls with a single tensor that return another one."""
    calls: list[_Call] = []
    inputs: dict[str, Tensor] = {}

    def before(path: str, _module: nn.Module, given: tuple[Any, ...]) -> None:
        if given and isinstance(given[0], Tensor):
            inputs[path] = given[0].clone()  # the module may change it in place

    def after(path: str, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        x = inputs.pop(path, None)
        if x is None or not isinstance(output, Tensor):
            return
        has_others = any(isinstance(other, Tensor) for other in (*given[1:], *named.values()))
        if not has_others and (x.is_meta or not torch.equal(x, output)):
            calls.append(_Call(path, lambda x: module(x, *given[1:], **named), x, output.shape))

    handles = []
    for path in paths:
        module = model.get_submodule(path)
        handles.append(module.register_forward_pre_hook(partial(before, path)))
        handles.append(module.register_forward_hook(partial(after, path), with_kwargs=True))
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _kinds(model: Model) -> dict[str, str]:
    """The kind of each module, by its path."""
    if isinstance(model, TimmModel):
        named = _known_of_timm(model)
    elif hasattr(model, "body"):
        named = (("stem", model.stem), *_of_other_blocks(model.body), *_known(model))
    else:
        return {}
    paths = {module: path for path, module in model.named_modules()}
    return {paths[module]: kind for kind, module in named}


def _known(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for module in model.modules():
        match module:
            case MixerBlock():
                yield "token norm", module.token_norm
                yield "token MLP", module.token_mlp
                yield "channel norm", module.channel_norm
                yield "channel MLP", module.channel_mlp
            case ConvMixerBlock():
                yield "depthwise convolution", module.depthwise
                yield "pointwise convolution", module.pointwise
            case PatchMerging():
                yield "patch merging", module
            case DaViTBlock():
                kind = "channel attention" if isinstance(module.attention, ChannelAttention) else "window attention"
                yield "position encoding", module.attention_position
                yield kind, module.attention
                yield "position encoding", module.mlp_position
                yield "MLP", module.mlp


def _known_of_timm(model: TimmModel) -> Iterator[tuple[str, nn.Module]]:
    for block in getattr(model.network, "blocks", ()):
        if hasattr(block, "attn") and hasattr(block, "mlp"):
            yield "self-attention", block.attn
            yield "MLP", block.mlp
    for module in model.network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            rows, columns = module.kernel_size
            yield f"{rows} x {columns} convolution", module
        if isinstance(module, nn.BatchNorm2d):
            yield "batch norm", module


_KNOWN_BLOCKS = (MixerBlock, ConvMixerBlock, DaViTBlock, DaViTStage)


def _of_other_blocks(blocks: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for block in blocks.children():
        if isinstance(block, nn.Sequential | nn.ModuleList):
            yield from _of_other_blocks(block)
        elif not isinstance(block, _KNOWN_BLOCKS):
            name = type(block).__name__
            yield f"whole {name}", block
            yield from _parts(block, name)


def _parts(block: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, part in block.named_children():
        if _holds_blocks(part):
            yield from _of_other_blocks(part)
        elif isinstance(part, nn.ModuleList | nn.ModuleDict):  # only its modules are called
            yield from _parts(part, f"{prefix}.{name}")
        elif not isinstance(part, _KNOWN_BLOCKS):
            yield f"{prefix}.{name}", part


def _holds_blocks(part: nn.Module) -> bool:
    """Whether a part is a list of modules that are none of PyTorch's, such as the blocks of a stage."""
    own = [not type(child).__module__.startswith("torch.nn.") for child in part.children()]
    return isinstance(part, nn.Sequential | nn.ModuleList) and all(own)


def _by_place(x: Tensor, layout: Layout, tokens_before: int) -> Float[Tensor, "row place channel"]:
    match layout:
        case "channel row column":
            return rearrange(x, "b c h w -> b (h w) c")
        case "row column channel":
            return rearrange(x, "b h w c -> b (h w) c")
        case "channel place":
            return x.mT[:, tokens_before:]
        case "place channel":
            return x[:, tokens_before:]
