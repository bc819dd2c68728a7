"""How the model of a training is executed: as it is, or with faster modules on a CPU (rewrites/)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

from torch import nn

from mixlab.models.convmixer import ConvMixer
from mixlab.speed.rewrites.attention import unfused_attention, uses_attention
from mixlab.speed.rewrites.convmixer import fuse_convmixer
from mixlab.speed.rewrites.depthwise import has_wide_depthwise, native_depthwise, split_depthwise
from mixlab.speed.rewrites.gelu import has_gelu, native_gelu

Rewrite = Literal["fused_convmixer", "native_depthwise", "split_depthwise", "native_gelu", "unfused_attention"]

_REPLACE: Mapping[Rewrite, Callable[[nn.Module], nn.Module]] = {
    "fused_convmixer": fuse_convmixer,
    "native_depthwise": native_depthwise,
    "split_depthwise": split_depthwise,
    "native_gelu": native_gelu,
}
_USE_NATIVE_KERNELS: Sequence[Rewrite] = ("fused_convmixer", "native_depthwise", "native_gelu")


@dataclass(frozen=True, slots=True)
class Execution:
    """Changes to a model that can make its training steps faster. The function stays the same up to rounding.

    kernel_build  the compiler, the flags and a digest of the native kernels, if a rewrite uses them
    """

    rewrites: tuple[Rewrite, ...] = ()
    kernel_build: str | None = None

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace modules of `model`. Its parameters and their names stay the same."""
        for rewrite in self.rewrites:
            if rewrite in _REPLACE:
                model = _REPLACE[rewrite](model)
        return model

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        """The context of a forward pass."""
        with unfused_attention() if "unfused_attention" in self.rewrites else nullcontext():
            yield


def uses_native_kernels(model: nn.Module) -> bool:
    """Whether there is a rewrite of `model` with native kernels."""
    return has_wide_depthwise(model) or has_gelu(model)


def cpu_execution(model: nn.Module, image_shape: Sequence[int], precision: str, kernel_build: str | None) -> Execution:
    """All rewrites for a training of `model` on a CPU in this precision.

    model         on the meta device
    image_shape   (channel, row, column)
    kernel_build  the `build` of the native kernels; None if they are not available
    """
    rewrites: list[Rewrite] = []
    if kernel_build and isinstance(model, ConvMixer):
        rewrites.append("fused_convmixer")
    elif has_wide_depthwise(model):
        rewrites.append("native_depthwise" if kernel_build else "split_depthwise")
    if kernel_build and has_gelu(model) and "fused_convmixer" not in rewrites:
        rewrites.append("native_gelu")
    if precision != "fp32" and uses_attention(model, image_shape):
        rewrites.append("unfused_attention")
    is_native = any(rewrite in _USE_NATIVE_KERNELS for rewrite in rewrites)
    return Execution(tuple(rewrites), kernel_build if is_native else None)
