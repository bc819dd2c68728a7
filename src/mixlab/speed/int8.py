"""Quantisation to int8 after training, with OpenVINO's NNCF.

SmoothQuant, which NNCF recommends for transformers, is not used: on random images it changed the logits of Mixer-B/16
by as much as their standard deviation. The biases of quantised layers are corrected instead, first with the statistics
of the model in floating point ("fast"), or layer by layer with those of the quantised model ("sequential"), which is
slower.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from jaxtyping import Float
from torch import Tensor

from mixlab.data.readers.extras import needs_extra, progress_bars_on_terminal

if TYPE_CHECKING:
    import openvino

BiasCorrection = Literal["fast", "sequential"]

BIAS_CORRECTIONS: tuple[BiasCorrection, ...] = ("fast", "sequential")


def quantize(
    network: "openvino.Model",
    images: Sequence[Float[Tensor, "1 channel row column"]],
    bias_correction: BiasCorrection = "fast",
) -> "openvino.Model":
    """A copy of `network` with weights and activations in int8.

    images  preprocessed training images, one per element, from which the ranges of the activations are estimated

    Raises UserError if nncf is not installed.
    """
    samples = [image.numpy() for image in images]
    return quantize_with_nncf(network, samples, fast_bias_correction=bias_correction == "fast")


def quantize_with_nncf(network: Any, samples: Sequence[Any], **options: Any) -> Any:
    """A copy of a network of any of NNCF's frameworks in int8.

    samples  inputs of the network
    options  of `nncf.quantize`

    Raises UserError if nncf is not installed.
    """
    with needs_extra("int8", "deploy"), progress_bars_on_terminal(quiet=True):
        import nncf
    logging.getLogger("nncf").setLevel(logging.ERROR)  # nncf.set_log_level changes its handlers, too
    with progress_bars_on_terminal(quiet=True):
        return nncf.quantize(network, nncf.Dataset(samples), subset_size=len(samples), **options)
