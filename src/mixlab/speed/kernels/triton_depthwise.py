"""Depthwise convolutions with stride 1 that keep the size of the image ("same"), and their gradients, in Triton.

Importing this module needs Triton (see `triton_build` in rewrites/cuda_depthwise.py).

The gradient of the images is a convolution with the flipped kernel. The gradient of the weights is summed in two stages
without atomic operations, so that the order of every sum is fixed: each program sums over its share of the images and
tiles, and PyTorch adds the shares. The sizes of the tiles depend only on the shapes. They are not timed, because
another choice would be another order.

Axes:  image            images of the batch
       channel          channels, each with its own kernel
       row, column      positions
       k_row, k_column  positions of the kernel
"""

# Constants that Triton compiles in are upper case, and it has no starred expressions.
# ruff: noqa: N803, RUF005
# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false, reportCallIssue=false

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from mixlab.speed.kernels.depthwise import flat_kernel, memory_format, sum_dtype

_LANES = 1024
"""Numbers (positions times channels) that the threads of a program compute at once."""

_MAX_CHANNELS = 64
"""Channels of a tile in channels-last layout. In the other layout, a tile has a single channel."""

_MAX_COLUMNS = 64

_ROWS_PER_LANE = 4
"""Rows of the outputs that a lane of the convolution computes, so that it loads most rows of the images once."""

_PROGRAMS = 4096
"""About that many programs sum the gradient of the weights, each over its share of the images and tiles."""


def depthwise_convolution(
    images: Float[Tensor, "image channel row column"],
    weight: Float[Tensor, "channel 1 k_row k_column"],
    bias: Float[Tensor, " channel"] | None,
) -> Float[Tensor, "image channel row column"]:
    """A depthwise convolution with padding "same", whose larger half is on the right and at the bottom.

    images   fp32, bfloat16, fp16 or float64, contiguous or channels-last; the outputs have the same layout. Sums are in
             fp32, or in float64 for images in float64.
    weight   of the same type
    """
    return torch.ops.mixlab.triton_depthwise(images, weight, bias)


@torch.library.custom_op(
    "mixlab::triton_depthwise", mutates_args=(), schema="(Tensor images, Tensor weight, Tensor? bias) -> Tensor"
)
def _convolution(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    k_rows, k_columns = weight.shape[2:]
    return _convolve(images, flat_kernel(weight, images.dtype), bias, (k_rows, k_columns), _padding(weight))


@torch.library.custom_op(
    "mixlab::triton_depthwise_gradients",
    mutates_args=(),
    schema="(Tensor gradient, Tensor images, Tensor weight) -> (Tensor, Tensor, Tensor)",
)
def _gradients(gradient: Tensor, images: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the images, the weights and the bias."""
    k_rows, k_columns = weight.shape[2:]
    top, left = _padding(weight)
    gradient = gradient.contiguous(memory_format=memory_format(images))
    flipped = flat_kernel(weight, images.dtype).flip(0)
    of_images = _convolve(gradient, flipped, None, (k_rows, k_columns), (k_rows - 1 - top, k_columns - 1 - left))
    of_weight, of_bias = _parameter_gradients(gradient, images, weight)
    return of_images, of_weight, of_bias


@_convolution.register_fake
def _(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.empty_like(_dense(images))


@_gradients.register_fake
def _(gradient: Tensor, images: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    of_images = torch.empty_like(gradient.contiguous(memory_format=memory_format(images)))
    return of_images, weight.new_empty(weight.shape), weight.new_empty(len(weight))


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    images, weight, bias = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(images, weight)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    images, weight = ctx.saved_tensors
    of_images, of_weight, of_bias = torch.ops.mixlab.triton_depthwise_gradients(gradient, images, weight)
    return of_images, of_weight, of_bias if ctx.has_bias else None


_convolution.register_autograd(_backward, setup_context=_setup_context)


def _convolve(
    images: Tensor, taps: Tensor, bias: Tensor | None, kernel: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """taps  (k_position, channel), contiguous"""
    images = _dense(images)
    outputs, (count, channels, rows, columns) = torch.empty_like(images), images.shape
    tile = _tile(images, _ROWS_PER_LANE)
    grid = (count * tile.number, triton.cdiv(channels, tile.channels))
    with torch.cuda.device_of(images):
        _convolution_kernel[grid](
            *(images, taps, taps if bias is None else bias.contiguous(), outputs, channels, rows, columns),
            *(*images.stride(), *outputs.stride(), *padding),
            *(*kernel, bias is not None, _sum_type(images), _ROWS_PER_LANE, *tile.shape),
            enable_fp_fusion=True,
        )
    return outputs


def _parameter_gradients(gradient: Tensor, images: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    images = _dense(images)
    count, channels, rows, columns = images.shape
    k_rows, k_columns = weight.shape[2:]
    tile = _tile(images, 1)
    channel_blocks = triton.cdiv(channels, tile.channels)
    shares = max(1, _PROGRAMS // (channel_blocks * k_rows))
    tile_shares = min(tile.number, shares)
    image_shares = min(count, shares // tile_shares)
    shape = tile_shares * image_shares, k_rows * k_columns + 1, channels
    sums = images.new_empty(shape, dtype=sum_dtype(images.dtype))
    with torch.cuda.device_of(images):
        _parameter_gradients_kernel[k_rows, tile_shares * image_shares, channel_blocks](
            *(gradient, images, sums, count, image_shares, tile.number, tile_shares, channels, rows, columns),
            *(*gradient.stride(), *images.stride(), *_padding(weight)),
            *(k_rows, k_columns, _sum_type(images), *tile.shape),
            enable_fp_fusion=True,
        )
    total = sums.sum(0).to(weight.dtype)
    return total[:-1].T.contiguous().view(weight.shape), total[-1].clone()


class _Tile(NamedTuple):
    """The lanes of a program, in powers of two, and how many tiles an image has for each block of channels."""

    rows: int
    columns: int
    channels: int
    number: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.rows, self.columns, self.channels


def _tile(images: Tensor, rows_per_lane: int) -> _Tile:
    _, channels, rows, columns = images.shape
    channels_last = memory_format(images) == torch.channels_last
    block_channels = min(triton.next_power_of_2(channels), _MAX_CHANNELS) if channels_last else 1
    block_columns = min(triton.next_power_of_2(columns), _MAX_COLUMNS, _LANES // block_channels)
    lane_rows = triton.cdiv(rows, rows_per_lane)
    block_rows = min(triton.next_power_of_2(lane_rows), _LANES // (block_channels * block_columns))
    number = triton.cdiv(lane_rows, block_rows) * triton.cdiv(columns, block_columns)
    return _Tile(block_rows, block_columns, block_channels, number)


def _padding(weight: Tensor) -> tuple[int, int]:
    """At the top and on the left."""
    rows, columns = weight.shape[2:]
    return (rows - 1) // 2, (columns - 1) // 2


def _dense(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=memory_format(images))


def _sum_type(images: Tensor) -> tl.dtype:
    return tl.float64 if images.dtype == torch.float64 else tl.float32


@triton.jit
def _positions(tile, columns, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr):
    """The rows of lanes and the columns in a tile."""
    tiles_across = tl.cdiv(columns, BLOCK_COLUMNS)
    lane = tl.arange(0, BLOCK_ROWS * BLOCK_COLUMNS)
    row = tile // tiles_across * BLOCK_ROWS + lane // BLOCK_COLUMNS
    column = tile % tiles_across * BLOCK_COLUMNS + lane % BLOCK_COLUMNS
    return row, column


@triton.jit
def _convolution_kernel(
    images,
    taps,
    bias,
    outputs,
    channels,
    rows,
    columns,
    image_stride,
    channel_stride,
    row_stride,
    column_stride,
    output_image_stride,
    output_channel_stride,
    output_row_stride,
    output_column_stride,
    top,
    left,
    K_ROWS: tl.constexpr,
    K_COLUMNS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    SUM: tl.constexpr,
    ROWS_PER_LANE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """One tile of the outputs. A lane is a position and a channel, with `ROWS_PER_LANE` rows."""
    tiles = tl.cdiv(tl.cdiv(rows, ROWS_PER_LANE), BLOCK_ROWS) * tl.cdiv(columns, BLOCK_COLUMNS)
    image = (tl.program_id(0) // tiles).to(tl.int64)
    lane_row, column = _positions(tl.program_id(0) % tiles, columns, BLOCK_ROWS, BLOCK_COLUMNS)
    row = lane_row * ROWS_PER_LANE
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    is_channel = channel < channels
    first = tl.zeros((BLOCK_ROWS * BLOCK_COLUMNS, BLOCK_CHANNELS), SUM)
    if HAS_BIAS:
        first += tl.load(bias + channel, is_channel, other=0.0).to(SUM)[None, :]
    totals = ()
    for _ in tl.static_range(ROWS_PER_LANE):
        totals = totals + (first,)
    images += image * image_stride + channel[None, :] * channel_stride
    for k_column in range(K_COLUMNS):
        in_column = column + k_column - left
        is_column = (in_column >= 0) & (in_column < columns)
        of_column = ()
        for k_row in tl.static_range(K_ROWS):
            tap = tl.load(taps + (k_row * K_COLUMNS + k_column) * channels + channel, is_channel, other=0.0)
            of_column = of_column + (tap[None, :],)
        for step in tl.static_range(K_ROWS + ROWS_PER_LANE - 1):
            in_row = row + step - top
            is_inside = is_column & (in_row >= 0) & (in_row < rows)
            place = (in_row * row_stride + in_column * column_stride)[:, None]
            values = tl.load(images + place, is_inside[:, None] & is_channel[None, :], other=0.0).to(SUM)
            added = ()
            for offset in tl.static_range(ROWS_PER_LANE):
                if step >= offset and step - offset < K_ROWS:
                    added = added + (totals[offset] + values * of_column[step - offset],)
                else:
                    added = added + (totals[offset],)
            totals = added
    outputs += image * output_image_stride + channel[None, :] * output_channel_stride
    for offset in tl.static_range(ROWS_PER_LANE):
        out_row = row + offset
        place = (out_row * output_row_stride + column * output_column_stride)[:, None]
        is_output = ((out_row < rows) & (column < columns))[:, None] & is_channel[None, :]
        tl.store(outputs + place, totals[offset].to(outputs.dtype.element_ty), is_output)


@triton.jit
def _parameter_gradients_kernel(
    gradient,
    images,
    sums,
    number_of_images,
    image_shares,
    tiles,
    tile_shares,
    channels,
    rows,
    columns,
    gradient_image_stride,
    gradient_channel_stride,
    gradient_row_stride,
    gradient_column_stride,
    image_stride,
    channel_stride,
    row_stride,
    column_stride,
    top,
    left,
    K_ROWS: tl.constexpr,
    K_COLUMNS: tl.constexpr,
    SUM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """The sums of one share of the images and tiles, for one row of the kernel, and for the bias.

    sums  (share, k_position, channel); the last k_position is the bias
    """
    k_row, share = tl.program_id(0), tl.program_id(1)
    channel = tl.program_id(2) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    is_channel = channel < channels
    images_in_share, tiles_in_share = tl.cdiv(number_of_images, image_shares), tl.cdiv(tiles, tile_shares)
    first_image, first_tile = share // tile_shares * images_in_share, share % tile_shares * tiles_in_share
    of_bias = tl.zeros((BLOCK_ROWS * BLOCK_COLUMNS, BLOCK_CHANNELS), SUM)
    of_weight = ()
    for _ in tl.static_range(K_COLUMNS):
        of_weight = of_weight + (of_bias,)
    gradient += channel[None, :] * gradient_channel_stride
    images += channel[None, :] * channel_stride
    for tile in range(first_tile, tl.minimum(first_tile + tiles_in_share, tiles)):
        row, column = _positions(tile, columns, BLOCK_ROWS, BLOCK_COLUMNS)
        in_row = row + k_row - top
        is_output = ((row < rows) & (column < columns))[:, None] & is_channel[None, :]
        is_row = (in_row >= 0) & (in_row < rows)
        place = (row * gradient_row_stride + column * gradient_column_stride)[:, None]
        for number in range(first_image, tl.minimum(first_image + images_in_share, number_of_images)):
            image = tl.cast(number, tl.int64)
            of_outputs = tl.load(gradient + image * gradient_image_stride + place, is_output, other=0.0).to(SUM)
            of_bias += of_outputs
            added = ()
            for k_column in tl.static_range(K_COLUMNS):
                in_column = column + k_column - left
                is_inside = is_row & (in_column >= 0) & (in_column < columns)
                in_place = (in_row * row_stride + in_column * column_stride)[:, None]
                mask = is_inside[:, None] & is_channel[None, :]
                values = tl.load(images + image * image_stride + in_place, mask, other=0.0).to(SUM)
                added = added + (of_weight[k_column] + values * of_outputs,)
            of_weight = added
    sums += share * (K_ROWS * K_COLUMNS + 1) * channels + channel
    for k_column in tl.static_range(K_COLUMNS):
        place = (k_row * K_COLUMNS + k_column) * channels
        tl.store(sums + place, tl.sum(of_weight[k_column], axis=0), is_channel)
    if k_row == 0:
        tl.store(sums + K_ROWS * K_COLUMNS * channels, tl.sum(of_bias, axis=0), is_channel)
