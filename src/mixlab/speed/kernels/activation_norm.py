"""Activation and batch normalisation in few passes over memory, alone or after a depthwise convolution.

The functions have gradients. For these, a forward pass keeps the inputs of the activation, where PyTorch keeps those of
the normalisation as well; the backward pass computes the activations again. Images are fp32, bfloat16 or float64, and
so are the results, in channels-last layout. Sums are fp32 or float64.

Axes:  image            images of the batch
       row, column      positions
       k_row, k_column  positions of a kernel
       channel          channels, each with its own kernel, mean and variance
"""

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mixlab.speed.kernels.depthwise import convolution_gradients, convolution_shape, flat_kernel, sum_dtype
from mixlab.speed.kernels.library import kernels

Activation = Literal["gelu", "relu"]
"""GELU is the exact one, with the error function."""

_NUMBERS = {"gelu": 0, "relu": 1}
"""The numbers of the activations in activation_norm.h."""


class Normalised(NamedTuple):
    """Normalised images, and the mean and biased variance of each channel over the batch, in float64."""

    images: Float[Tensor, "image channel row column"]
    mean: Float[Tensor, " channel"]
    variance: Float[Tensor, " channel"]


class Norm(NamedTuple):
    """The parameters of a batch normalisation. `epsilon` is added to the variance."""

    weight: Float[Tensor, " channel"]
    bias: Float[Tensor, " channel"]
    epsilon: float


def activation_norm(
    images: Float[Tensor, "image channel row column"],
    bias: Float[Tensor, " channel"],
    activation: Activation,
    norm: Norm,
) -> Normalised:
    """`activation(images + bias)`, normalised with the statistics of the batch."""
    return Normalised(*_ActivationNorm.apply(images, bias, activation, *norm))  # pyright: ignore[reportGeneralTypeIssues]


def depthwise_activation_norm(
    images: Float[Tensor, "image channel row column"],
    weight: Float[Tensor, "channel 1 k_row k_column"],
    bias: Float[Tensor, " channel"],
    activation: Activation,
    norm: Norm,
) -> Normalised:
    """The images plus their normalised activations after a depthwise convolution with padding "same"."""
    return Normalised(*_DepthwiseActivationNorm.apply(images, weight, bias, activation, *norm))  # pyright: ignore[reportGeneralTypeIssues]


class _ActivationNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        bias: Tensor,
        activation: Activation,
        norm_weight: Tensor,
        norm_bias: Tensor,
        epsilon: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        images = images.contiguous(memory_format=torch.channels_last)
        activated = _Activated.empty(images)
        bias, number = bias.to(activated.means.dtype), _NUMBERS[activation]
        kernels()("activation_forward", images.dtype, number, images, bias, list(activated), _shape(images))
        mean, variance = _normalise_(activated, Norm(norm_weight, norm_bias, epsilon), residual=None)
        ctx.save_for_backward(images, bias, mean, variance, norm_weight)
        ctx.activation, ctx.epsilon = number, epsilon
        ctx.mark_non_differentiable(mean, variance)
        return activated.values, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, bias, mean, variance, norm_weight = ctx.saved_tensors
        norm = _norm_gradients(gradients[0], images, bias, mean, variance, norm_weight, ctx.epsilon, ctx.activation)
        of_images, of_bias = torch.empty_like(images), _sums(images)
        kernels()("activation_backward", images.dtype, ctx.activation, norm.tensors, of_images, of_bias, _shape(images))
        return of_images, of_bias.sum(0), None, norm.weight, norm.bias, None


class _DepthwiseActivationNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor,
        activation: Activation,
        norm_weight: Tensor,
        norm_bias: Tensor,
        epsilon: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        images = images.contiguous(memory_format=torch.channels_last)
        inputs, activated = torch.empty_like(images), _Activated.empty(images)
        bias, number = bias.to(activated.means.dtype), _NUMBERS[activation]
        kernels()(
            "depthwise_activation_forward",
            images.dtype,
            number,
            images,
            flat_kernel(weight, images.dtype),
            bias,
            inputs,
            list(activated),
            convolution_shape(images, weight),
        )
        mean, variance = _normalise_(activated, Norm(norm_weight, norm_bias, epsilon), residual=images)
        ctx.save_for_backward(images, weight, inputs, bias, mean, variance, norm_weight)
        ctx.activation, ctx.epsilon = number, epsilon
        ctx.mark_non_differentiable(mean, variance)
        return activated.values, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, inputs, bias, mean, variance, norm_weight = ctx.saved_tensors
        norm = _norm_gradients(gradients[0], inputs, bias, mean, variance, norm_weight, ctx.epsilon, ctx.activation)
        convolution = convolution_gradients(
            "depthwise_activation_backward", images, weight, ctx.activation, norm.tensors
        )
        return *convolution, None, norm.weight, norm.bias, None


class _Activated(NamedTuple):
    """`ActivationOutputs` in activation_norm.h."""

    values: Float[Tensor, "image channel row column"]
    means: Float[Tensor, "image channel"]
    squares: Float[Tensor, "image channel"]

    @classmethod
    def empty(cls, images: Tensor) -> "_Activated":
        return cls(torch.empty_like(images), _sums(images), _sums(images))


class _NormGradients(NamedTuple):
    """The gradients of the parameters, and `NormGradients` in activation_norm.h."""

    tensors: list[Tensor]
    weight: Float[Tensor, " channel"]
    bias: Float[Tensor, " channel"]


def _normalise_(activated: _Activated, norm: Norm, residual: Tensor | None) -> tuple[Tensor, Tensor]:
    """Replace the activations with the normalised ones plus the residual; returns their mean and variance before."""
    means, positions = activated.means.double(), activated.values[0, 0].numel()
    mean = means.mean(0)
    variance = activated.squares.double().mean(0) / positions + (means - mean).square().mean(0)
    factors = (mean, norm.weight * (variance + norm.epsilon).rsqrt(), norm.bias)
    mean_, scale, shift = (factor.to(activated.means.dtype) for factor in factors)
    values = activated.values
    kernels()("normalise", values.dtype, values, mean_, scale, shift, residual, _shape(values))
    return mean, variance


def _norm_gradients(
    gradient: Tensor,
    inputs: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor,
    epsilon: float,
    activation: int,
) -> _NormGradients:
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    sums, products = _sums(inputs), _sums(inputs)
    tensors = [gradient, inputs, bias, mean.to(sums.dtype)]
    kernels()("norm_gradient_sums", inputs.dtype, activation, tensors, sums, products, _shape(inputs))
    total, product, count = sums.double().sum(0), products.double().sum(0), inputs.numel() / inputs.shape[1]
    inverse = (variance + epsilon).rsqrt()  # of the standard deviation
    direct = weight * inverse
    through_variance = -direct * inverse.square() * product / count
    tensors += [factor.to(sums.dtype) for factor in (direct, total / count, through_variance)]
    return _NormGradients(tensors, (product * inverse).to(weight.dtype), total.to(weight.dtype))


def _sums(images: Tensor) -> Float[Tensor, "image channel"]:
    return torch.empty(images.shape[:2], dtype=sum_dtype(images.dtype))


def _shape(images: Tensor) -> tuple[int, ...]:
    """`Shape` in activation_norm.cpp."""
    count, channels, rows, columns = images.shape
    return count, rows * columns, channels
