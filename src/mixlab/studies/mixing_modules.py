"""The modules of a network that mix places or channels, with their inputs for one image.

A place is a cell of the grid of pixels or patches. In all families each module maps (place, channel) to the same.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mixlab.models.convmixer import ConvMixerBlock
from mixlab.models.davit import ChannelAttention, DaViTBlock, PatchEmbedding, PatchMerging
from mixlab.models.mixer import Mixer, MixerBlock
from mixlab.zoo.architecture import Model
from mixlab.zoo.timm_models import TimmModel

Layout = Literal["channel row column", "row column channel", "place channel", "channel place"]
Grid = tuple[int, int]

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
            output = _by_place(self.function(inputs), self.layouts[1], self.tokens_before)
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


def mixing_modules(model: Model, image: Float[Tensor, "channel height width"]) -> list[MixingModule]:
    """All modules that are known for the family of `model`, in the order in which they are applied."""
    wanted = {module: (kind, layouts, prefix) for kind, module, layouts, prefix in _known(model)}
    found: list[MixingModule] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kind, layouts, prefix = wanted[module]
        ends = (inputs[0].detach(), output)
        grids = [_grid(end, layout, grid) for end, layout in zip(ends, layouts, strict=True)]
        one = MixingModule(kind, module, ends[0][0], layouts, (grids[0], grids[1]), prefix)
        found.append(one)
        if kind.endswith("attention"):
            found.append(replace(one, kind=kind + FIXED, is_fixed=True))

    grid = _patch_grid(model)
    handles = [module.register_forward_hook(record) for module in wanted]
    try:
        with torch.no_grad():
            model(image[None])
    finally:
        for handle in handles:
            handle.remove()
    return found


_Known = tuple[str, nn.Module, tuple[Layout, Layout], int]
_CHANNELS_FIRST: tuple[Layout, Layout] = ("channel row column", "channel row column")
_CHANNELS_LAST: tuple[Layout, Layout] = ("row column channel", "row column channel")
_TOKENS: tuple[Layout, Layout] = ("place channel", "place channel")


def _known(model: Model) -> Iterator[_Known]:
    if isinstance(model, TimmModel):
        yield from _known_of_timm(model)
        return
    for module in model.modules():
        match module:
            case MixerBlock():
                yield "token norm", module.token_norm, _TOKENS, 0
                yield "token MLP", module.token_mlp, ("channel place", "channel place"), 0
                yield "channel norm", module.channel_norm, _TOKENS, 0
                yield "channel MLP", module.channel_mlp, _TOKENS, 0
            case ConvMixerBlock():
                yield "depthwise convolution", module.depthwise, _CHANNELS_FIRST, 0
                yield "pointwise convolution", module.pointwise, _CHANNELS_FIRST, 0
            case PatchEmbedding():
                yield "stem", module, ("channel row column", "row column channel"), 0
            case PatchMerging():
                yield "patch merging", module, _CHANNELS_LAST, 0
            case DaViTBlock():
                kind = "channel attention" if isinstance(module.attention, ChannelAttention) else "window attention"
                yield "position encoding", module.attention_position, _CHANNELS_LAST, 0
                yield kind, module.attention, _CHANNELS_LAST, 0
                yield "position encoding", module.mlp_position, _CHANNELS_LAST, 0
                yield "MLP", module.mlp, _CHANNELS_LAST, 0
    if isinstance(model.stem, nn.Conv2d | nn.Sequential):
        yield "stem", model.stem, _CHANNELS_FIRST, 0


def _known_of_timm(model: TimmModel) -> Iterator[_Known]:
    prefix = getattr(model.network, "num_prefix_tokens", 0)
    for block in getattr(model.network, "blocks", ()):
        if hasattr(block, "attn") and hasattr(block, "mlp"):
            yield "self-attention", block.attn, _TOKENS, prefix
            yield "MLP", block.mlp, _TOKENS, prefix
    for module in model.network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            rows, columns = module.kernel_size
            yield f"{rows} x {columns} convolution", module, _CHANNELS_FIRST, 0
        if isinstance(module, nn.BatchNorm2d):
            yield "batch norm", module, _CHANNELS_FIRST, 0


def _patch_grid(model: Model) -> Grid:
    """The grid of the tokens of a Mixer or a ViT."""
    if isinstance(model, Mixer):
        return model.config.grid
    embedding = getattr(model.network, "patch_embed", None) if isinstance(model, TimmModel) else None
    return getattr(embedding, "grid_size", (0, 0))


def _grid(x: Tensor, layout: Layout, tokens: Grid) -> Grid:
    match layout:
        case "channel row column":
            return x.shape[2], x.shape[3]
        case "row column channel":
            return x.shape[1], x.shape[2]
        case _:
            return tokens


def _by_place(x: Tensor, layout: Layout, tokens_before: int) -> Float[Tensor, "row place channel"]:
    match layout:
        case "channel row column":
            return rearrange(x, "b c h w -> b (h w) c")
        case "row column channel":
            return rearrange(x, "b h w c -> b (h w) c")
        case "channel place":
            return x.mT
        case "place channel":
            return x[:, tokens_before:]
