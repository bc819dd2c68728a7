"""Activation and batch normalisation in few passes over memory, alone or after a depthwise convolution.

The functions have gradients. For these, a forward pass keeps the activations and their slopes, which is as much as
PyTorch keeps for an activation and a normalisation. Images are fp32, bfloat16 or float64, and so are the results, in
channels-last layout. Sums are fp32 or float64.

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
        bias = bias.to(activated.means.dtype)
        kernels()(
            "activation_forward",
            images.dtype,
            _NUMBERS[activation],
            images,
            bias,
            list(activated),
            _shape(images),
        )
        outputs, mean, variance = _normalise(activated, Norm(norm_weight, norm_bias, epsilon), residual=None)
        ctx.save_for_backward(activated.values, activated.slopes, mean, variance, norm_weight)
        ctx.epsilon = epsilon
        ctx.mark_non_differentiable(mean, variance)
        return outputs, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, slopes, mean, variance, norm_weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        norm = _norm_gradients(gradient, values, mean, variance, norm_weight, ctx.epsilon)
        of_images, of_bias = torch.empty_like(values), _sums(values)
        tensors = [gradient, values, slopes, *norm.factors]
        kernels()("activation_backward", values.dtype, tensors, of_images, of_bias, _shape(values))
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
        activated = _Activated.empty(images)
        kernel, bias = flat_kernel(weight, images.dtype), bias.to(activated.means.dtype)
        kernels()(
            "depthwise_activation_forward",
            images.dtype,
            _NUMBERS[activation],
            images,
            kernel,
            bias,
            list(activated),
            convolution_shape(images, weight),
        )
        outputs, mean, variance = _normalise(activated, Norm(norm_weight, norm_bias, epsilon), residual=images)
        ctx.save_for_backward(images, weight, activated.values, activated.slopes, mean, variance, norm_weight)
        ctx.epsilon = epsilon
        ctx.mark_non_differentiable(mean, variance)
        return outputs, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, values, slopes, mean, variance, norm_weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        norm = _norm_gradients(gradient, values, mean, variance, norm_weight, ctx.epsilon)
        tensors = [gradient, values, slopes, *norm.factors]
        convolution = convolution_gradients("depthwise_activation_backward", tensors, images, weight)
        return *convolution, None, norm.weight, norm.bias, None


class _Activated(NamedTuple):
    """`ActivationOutputs` in activation_norm.h."""

    values: Float[Tensor, "image channel row column"]
    slopes: Float[Tensor, "image channel row column"]
    means: Float[Tensor, "image channel"]
    squares: Float[Tensor, "image channel"]

    @classmethod
    def empty(cls, images: Tensor) -> "_Activated":
        return cls(torch.empty_like(images), torch.empty_like(images), _sums(images), _sums(images))


class _NormGradients(NamedTuple):
    """`factors` are the last fields of `NormGradients` in activation_norm.h."""

    factors: list[Float[Tensor, " channel"]]
    weight: Float[Tensor, " channel"]
    bias: Float[Tensor, " channel"]


def _normalise(activated: _Activated, norm: Norm, residual: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised activations plus the residual, and the mean and variance of the activations."""
    means, positions = activated.means.double(), activated.values[0, 0].numel()
    mean = means.mean(0)
    variance = activated.squares.double().mean(0) / positions + (means - mean).square().mean(0)
    factors = (mean, norm.weight * (variance + norm.epsilon).rsqrt(), norm.bias)
    outputs, sums = torch.empty_like(activated.values), activated.means.dtype
    mean_, scale, shift = (factor.to(sums) for factor in factors)
    kernels()("normalise", outputs.dtype, activated.values, mean_, scale, shift, residual, outputs, _shape(outputs))
    return outputs, mean, variance


def _norm_gradients(
    gradient: Tensor, values: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, epsilon: float
) -> _NormGradients:
    sums, products = _sums(values), _sums(values)
    kernels()("norm_gradient_sums", values.dtype, gradient, values, mean.to(sums.dtype), sums, products, _shape(values))
    total, product, count = sums.double().sum(0), products.double().sum(0), values.numel() / values.shape[1]
    inverse = (variance + epsilon).rsqrt()  # of the standard deviation
    direct = weight * inverse
    through_variance = -direct * inverse.square() * product / count
    factors = [factor.to(sums.dtype) for factor in (direct, total / count, through_variance, mean)]
    return _NormGradients(factors, (product * inverse).to(weight.dtype), total.to(weight.dtype))


def _sums(images: Tensor) -> Float[Tensor, "image channel"]:
    return torch.empty(images.shape[:2], dtype=sum_dtype(images.dtype))


def _shape(images: Tensor) -> tuple[int, ...]:
    """`Shape` in activation_norm.cpp."""
    count, channels, rows, columns = images.shape
    return count, rows * columns, channels
