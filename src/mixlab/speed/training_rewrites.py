"""The rewrites that make training steps faster, by name, and which of them a model has a use for on a CPU."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.speed.kernels.library import KernelsUnavailableError, kernels
from mixlab.speed.rewrites.attention import attention_modules, unfused_attention
from mixlab.speed.rewrites.compilation import compile_steps
from mixlab.speed.rewrites.convmixer import fuse_convmixer, is_stock_convmixer
from mixlab.speed.rewrites.cuda_depthwise import (
    DepthwiseKernel,
    require_selectable,
    triton_build_here,
    use_kernels,
)
from mixlab.speed.rewrites.depthwise import has_wide_depthwise, native_depthwise, split_depthwise
from mixlab.speed.rewrites.gelu import has_gelu, native_gelu
from mixlab.speed.rewrites.mixer import has_mixer_block, untranspose_mixer

Rewrite = Literal[
    "fused_convmixer",
    "native_depthwise",
    "split_depthwise",
    "untransposed_mixer",
    "native_gelu",
    "unfused_attention",
    "compiled",
]

_REPLACE: Mapping[Rewrite, Callable[[nn.Module], nn.Module]] = {
    "fused_convmixer": fuse_convmixer,
    "native_depthwise": native_depthwise,
    "split_depthwise": split_depthwise,
    "untransposed_mixer": untranspose_mixer,
    "native_gelu": native_gelu,
}
_USE_NATIVE_KERNELS: Sequence[Rewrite] = ("fused_convmixer", "native_depthwise", "untransposed_mixer", "native_gelu")


@dataclass(frozen=True, slots=True)
class TrainingRewrites:
    """Changes to a model for faster training steps. The function stays the same up to rounding.

    names         in the order in which they are applied
    kernel_build  the compiler, the flags and a digest of the native kernels, or Triton's version and a digest of its
                  kernels, if a rewrite uses them
    depthwise     (shape, whose kernels compute it) of depthwise convolutions on a CUDA device; applied first
    """

    names: tuple[Rewrite, ...] = ()
    kernel_build: str | None = None
    depthwise: tuple[tuple[str, DepthwiseKernel], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON-serializable values; `from_dict` is the inverse."""
        depthwise = [list(shape_and_kernel) for shape_and_kernel in self.depthwise]
        return {"names": list(self.names), "kernel_build": self.kernel_build, "depthwise": depthwise}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "TrainingRewrites":
        """The rewrites from `to_dict`'s values. Fields that older ones lack get their defaults."""
        depthwise = tuple((shape, kernel) for shape, kernel in stored.get("depthwise", ()))
        return cls(tuple(stored.get("names", ())), stored.get("kernel_build"), depthwise)

    def apply(self, model: nn.Module, images: int) -> nn.Module:
        """Replace modules of `model`. Its parameters and their names stay the same.

        images  number of images of a forward pass, for which steps are compiled
        """
        if self.depthwise:
            model = use_kernels(model, dict(self.depthwise))
        for name in self.names:
            if name in _REPLACE:
                model = _REPLACE[name](model)
        return compile_steps(model, images) if "compiled" in self.names else model

    @property
    def descriptions(self) -> list[str]:
        """The rewrites in words, such as "triton depthwise" and "compiled"."""
        kernels = dict.fromkeys(kernel for _, kernel in self.depthwise)
        return [*(f"{kernel} depthwise" for kernel in kernels), *(name.replace("_", " ") for name in self.names)]

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        """The context of a forward pass."""
        with unfused_attention() if "unfused_attention" in self.names else nullcontext():
            yield

    def build_here(self) -> str | None:
        """What `kernel_build` would be on this machine; None if no rewrite uses kernels.

        Raises UserError if the kernels are not available here.
        """
        try:
            require_selectable([kernel for _, kernel in self.depthwise])
            if self.kernel_build is None:
                return None
            return triton_build_here() if self.depthwise else kernels().build
        except KernelsUnavailableError as error:
            raise UserError(
                f"The plan of this training uses kernels that are not available on this machine: {error}. Continue on "
                "a machine like the one that started it, or train in another folder, with a plan for this machine."
            ) from error

    def changed_by_context(self, model: nn.Module, images: Tensor) -> list[str]:
        """The names of the modules of `model` for which `forward_context` makes a difference."""
        return attention_modules(model, images) if "unfused_attention" in self.names else []


def uses_native_kernels(model: nn.Module) -> bool:
    """Whether there is a rewrite of `model` with native kernels."""
    return has_wide_depthwise(model) or has_gelu(model)


def cpu_rewrites(
    model: nn.Module, image_shape: Sequence[int], precision: str, kernel_build: str | None
) -> TrainingRewrites:
    """All rewrites for a training of `model` on a CPU in this precision.

    model         on the meta device
    image_shape   (channel, row, column)
    kernel_build  the `build` of the native kernels; None if they are not available
    """
    names: list[Rewrite] = []
    if kernel_build and is_stock_convmixer(model):
        names.append("fused_convmixer")
    elif has_wide_depthwise(model):
        names.append("native_depthwise" if kernel_build else "split_depthwise")
    if kernel_build and has_mixer_block(model):
        names.append("untransposed_mixer")
    if kernel_build and has_gelu(model) and "fused_convmixer" not in names:
        names.append("native_gelu")
    if precision != "fp32" and attention_modules(model, torch.empty(2, *image_shape, device="meta")):
        names.append("unfused_attention")
    is_native = any(name in _USE_NATIVE_KERNELS for name in names)
    return TrainingRewrites(tuple(names), kernel_build if is_native else None)
