"""Ways to run a model on images: eagerly, compiled or in OpenVINO, with a precision, a layout and rewrites.

Axes:  image, channel, row, column  as usual for images
       output                       classes of the logits, or channels of the embedding
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.speed.network_cache import NetworkKey, cached_conversion
from mixlab.speed.openvino import compile_openvino
from mixlab.speed.plan import ComputeMode
from mixlab.speed.rewrites.inference_rewrites import rewrite

Execution = Literal["eager", "compiled", "openvino"]

Speed = Literal["auto", "off"]
"""Whether the fastest plan is selected, or the stock plan is used."""

Outputs = tuple[Float[Tensor, "image output"], ...]
Forward = Callable[[Float[Tensor, "image channel row column"]], Outputs]
"""Maps normalised images in fp32, on the device of the model, to its outputs in fp32."""


_STOCK_MODE = ComputeMode()


@dataclass(frozen=True, slots=True)
class InferencePlan:
    """How a model runs on the images of a job. It can differ between machines.

    rewrites  the names of the applied rewrites, see `mixlab.speed.rewrites`
    batch     images per forward pass; None: as many as the caller gives
    """

    execution: Execution = "eager"
    mode: ComputeMode = _STOCK_MODE
    rewrites: tuple[str, ...] = ()
    batch: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-serializable values."""
        values = asdict(self)
        return values | values.pop("mode")

    def __str__(self) -> str:
        if self.execution == "openvino":
            return f"OpenVINO, {self.mode.precision}"
        return ", ".join([self.execution, str(self.mode), *self.rewrites])


STOCK = InferencePlan()


def parse_speed(text: str) -> Speed:
    """Raises UserError unless `text` is "auto" or "off"."""
    for speed in get_args(Speed):
        if text == speed:
            return speed
    raise UserError(f'--speed {text} is not possible: give "auto", or "off" for eager execution in fp32.')


def build_forward(
    model: nn.Module, plan: InferencePlan, image_shape: Sequence[int], key: NetworkKey | None = None
) -> Forward:
    """A function that runs a copy of `model` under a plan.

    model        in fp32 and in evaluation mode; it returns a tensor or a tuple of tensors (image, output)
    image_shape  (channel, row, column)
    key          of the model, for the cache of conversions; None: they are not cached

    Nothing is compiled before the first call.
    """
    if plan.execution == "openvino":
        assert plan.mode.precision != "fp16"
        return compile_openvino(cached_conversion(model, image_shape, key), plan.mode.precision)
    network = rewrite(model, image_shape)[0] if plan.rewrites else deepcopy(model)
    dtype = plan.mode.dtype
    network.to(dtype).to(memory_format=plan.mode.memory_format)  # pyright: ignore[reportCallIssue]
    compiled = torch.compile(network, dynamic=False) if plan.execution == "compiled" else network

    def forward(images: Float[Tensor, "image channel row column"]) -> Outputs:
        # Another number of images would be compiled again.
        run = compiled if len(images) == plan.batch else network
        return as_tuple(run(images.to(dtype).contiguous(memory_format=plan.mode.memory_format)))

    return forward


def as_tuple(outputs: Any) -> Outputs:
    """One or several outputs of a model in fp32."""
    return tuple(output.float() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))
