"""The preprocessing of a model as an ONNX graph: decoded images of any size become the input of the network.

The pixels of the resized image are those of Pillow 13, bit for bit. A pass of Pillow is a product with a matrix of
weights: it computes them in float64, rounds them to multiples of 2^-22, adds up integers, and rounds and clips each
sum to uint8 (Pillow, src/libImaging/Resample.c). Here, each weight is split into two integers, so that all sums are
integers below 2^24, which float32 represents exactly. The order of the additions therefore does not matter.

ONNX's own operator, Resize, is not used: runtimes implement its antialiasing differently, or not at all.

Axes:  batch           images of one size
       row, column     pixels of the original images
       source, target  pixels along one side, before and after a pass
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from mixlab.data.preprocess import Preprocess
from mixlab.data.readers.extras import needs_extra

if TYPE_CHECKING:
    from onnx import ModelProto

IMAGES, IS_RESIZED = "images", "is_resized"
"""The inputs: uint8 (batch, row, column, channel), and a bool that is false unless it is given.

If it is true, the images have the size of the model already, and are neither resized nor cropped. So images of
different sizes can form a batch.
"""

OUTPUT = "normalised"
"""float32 (batch, channel, row, column)."""

_FUNCTIONS = """
<domain: "mixlab", opset_import: ["": OPSET]>
Weights (length, scaled, first, targets) => (weights)
{
    # The weights of a pass (source, target), as multiples of 2^-22: all upper halves, then all lower halves.
    zero = Constant <value = double {0.0}> ()
    half = Constant <value = double {0.5}> ()
    minus_half = Constant <value = double {-0.5}> ()
    one = Constant <value = double {1.0}> ()
    scale = Div (length, scaled)
    width = Max (scale, one)
    factor = Div (one, width)
    positions = Add (first, targets)
    middles = Add (positions, half)
    centres = Mul (middles, scale)
    sources = Range (zero, length, one)
    last = Constant <value_ints = [1]> ()
    column = Unsqueeze (sources, last)
    differences = Sub (column, centres)
    shifted = Add (differences, half)
    signed = Mul (shifted, factor)
    distances = Abs (signed)
    values = mixlab.Filter (distances)
    axis = Constant <value_ints = [0]> ()
    total = ReduceSum <keepdims = 1> (values, axis)
    shares = Div (values, total)
    unit = Constant <value = double {4194304.0}> ()
    multiples = Mul (shares, unit)
    is_negative = Less (multiples, zero)
    offset = Where (is_negative, minus_half, half)
    moved = Add (multiples, offset)
    truncated = Cast <to = 7> (moved)
    integers = Cast <to = 11> (truncated)
    base = Constant <value = double {128.0}> ()
    quotients = Div (integers, base)
    high = Round (quotients)
    product = Mul (high, base)
    low = Sub (integers, product)
    both = Concat <axis = 1> (high, low)
    weights = Cast <to = 1> (both)
}
<domain: "mixlab", opset_import: ["": OPSET]>
Pass (pixels, weights) => (resized)
{
    # Resize the last axis, and round and clip as Pillow does.
    sums = MatMul (pixels, weights)
    high, low = Split <axis = -1, num_outputs = 2> (sums)
    half = Constant <value = float {2097152.0}> ()
    base = Constant <value = float {128.0}> ()
    rounding = Add (low, half)
    scaled_low = Div (rounding, base)
    carry = Floor (scaled_low)
    sum = Add (high, carry)
    unit = Constant <value = float {32768.0}> ()
    quotient = Div (sum, unit)
    integers = Floor (quotient)
    black = Constant <value = float {0.0}> ()
    white = Constant <value = float {255.0}> ()
    resized = Clip (integers, black, white)
}
<domain: "mixlab", opset_import: ["": OPSET]>
Resize (pixels, sides, scaled, first, row_targets, column_targets) => (resized)
{
    # Like Pillow 13: the vertical pass comes first if it removes more than twice as many pixels of its side.
    rows, columns = Split <axis = 0, num_outputs = 2> (sides)
    scaled_rows, scaled_columns = Split <axis = 0, num_outputs = 2> (scaled)
    first_row, first_column = Split <axis = 0, num_outputs = 2> (first)
    vertical = mixlab.AxisWeights (rows, scaled_rows, first_row, row_targets)
    horizontal = mixlab.AxisWeights (columns, scaled_columns, first_column, column_targets)
    removed_rows = Sub (rows, scaled_rows)
    removed_columns = Sub (columns, scaled_columns)
    zero = Constant <value = double {0.0}> ()
    two = Constant <value = double {2.0}> ()
    doubled = Mul (removed_columns, two)
    least = Max (doubled, zero)
    is_first = Greater (removed_rows, least)
    is_vertical_first = Squeeze (is_first)
    resized = If (is_vertical_first) <
        then_branch = vertical_first () => (vertically_first) {
            columns_last = Transpose <perm = [0, 1, 3, 2]> (pixels)
            shrunk = mixlab.Pass (columns_last, vertical)
            rows_last = Transpose <perm = [0, 1, 3, 2]> (shrunk)
            vertically_first = mixlab.Pass (rows_last, horizontal)
        },
        else_branch = horizontal_first () => (horizontally_first) {
            narrow = mixlab.Pass (pixels, horizontal)
            narrow_transposed = Transpose <perm = [0, 1, 3, 2]> (narrow)
            small = mixlab.Pass (narrow_transposed, vertical)
            horizontally_first = Transpose <perm = [0, 1, 3, 2]> (small)
        }
    >
}
<domain: "mixlab", opset_import: ["": OPSET]>
AxisWeights (length, scaled, first, targets) => (weights)
{
    side = Squeeze (length)
    weights = mixlab.Weights (side, scaled, first, targets)
}
"""

_FILTERS = {
    "bilinear": """
    one = Constant <value = double {1.0}> ()
    zero = Constant <value = double {0.0}> ()
    falling = Sub (one, distances)
    values = Max (falling, zero)
""",
    "bicubic": """
    # Keys' cubic convolution with a = -0.5.
    zero = Constant <value = double {0.0}> ()
    one = Constant <value = double {1.0}> ()
    two = Constant <value = double {2.0}> ()
    near_3 = Constant <value = double {1.5}> ()
    near_2 = Constant <value = double {2.5}> ()
    near_a = Mul (distances, near_3)
    near_b = Sub (near_a, near_2)
    near_c = Mul (near_b, distances)
    near_d = Mul (near_c, distances)
    near = Add (near_d, one)
    far_2 = Constant <value = double {5.0}> ()
    far_1 = Constant <value = double {8.0}> ()
    far_0 = Constant <value = double {4.0}> ()
    far_a = Sub (distances, far_2)
    far_b = Mul (far_a, distances)
    far_c = Add (far_b, far_1)
    far_d = Mul (far_c, distances)
    far_e = Sub (far_d, far_0)
    minus_half = Constant <value = double {-0.5}> ()
    far = Mul (far_e, minus_half)
    is_near = Less (distances, one)
    is_far = Less (distances, two)
    outer = Where (is_far, far, zero)
    values = Where (is_near, near, outer)
""",
}

_SCALED = {
    "stretch": "would_be = Identity (size)",
    "shorter_side": """covered = Constant <value = double[2] COVERED> ()
    scales = Div (covered, sides)
    scale = ReduceMax <keepdims = 0> (scales)
    products = Mul (sides, scale)
    whole = Round (products)
    would_be = Max (whole, size)""",
    "stretch_and_crop": """covered = Constant <value = double[2] COVERED> ()
    scales = Div (covered, sides)
    products = Mul (sides, scales)
    whole = Round (products)
    would_be = Max (whole, size)""",
}
"""The height and width to which images are resized before they are cropped, as `Preprocess` computes them."""


def preprocess_graph(preprocess: Preprocess, opset: int) -> "ModelProto":
    """The preprocessing as a model with the inputs `IMAGES` and `IS_RESIZED`, and the output `OUTPUT`.

    opset  version of ONNX's operators, at least 18

    Images that mixlab crops before it enlarges them (`MAX_SCALED_PIXELS`) are cropped afterwards here. Raises UserError
    if onnx is not installed.
    """
    with needs_extra("ONNX", "deploy"):
        from onnx import inliner, parser
    height, width = preprocess.image_size
    covered = [side / preprocess.crop_fraction for side in preprocess.image_size]
    mean, std = (255 * torch.tensor(values, dtype=torch.float32) for values in (preprocess.mean, preprocess.std))
    text = f"""<ir_version: 10, opset_import: ["": {opset}, "mixlab": 1]>
preprocess (uint8[batch, rows, columns, 3] {IMAGES}, bool {IS_RESIZED}) => (float[batch, 3, {height}, {width}] {OUTPUT})
<bool {IS_RESIZED} = {{0}}>
{{
    shape = Shape <start = 1, end = 3> ({IMAGES})
    sides = Cast <to = 11> (shape)
    size = Constant <value = double[2] {_numbers(preprocess.image_size)}> ()
    {_SCALED[preprocess.resize].replace("COVERED", _numbers(covered))}
    scaled = Where ({IS_RESIZED}, size, would_be)
    margins = Sub (scaled, size)
    two = Constant <value = double {{2.0}}> ()
    halves = Div (margins, two)
    first = Round (halves)
    row_targets = Constant <value = double[{height}] {_numbers(range(height))}> ()
    column_targets = Constant <value = double[{width}] {_numbers(range(width))}> ()
    channels_first = Transpose <perm = [0, 3, 1, 2]> ({IMAGES})
    pixels = Cast <to = 1> (channels_first)
    resized = mixlab.Resize (pixels, sides, scaled, first, row_targets, column_targets)
    mean = Constant <value = float[3, 1, 1] {_numbers(mean.tolist())}> ()
    std = Constant <value = float[3, 1, 1] {_numbers(std.tolist())}> ()
    centred = Sub (resized, mean)
    divided = Div (centred, std)
    {_transformed(preprocess)}
}}
{_FUNCTIONS}
<domain: "mixlab", opset_import: ["": OPSET]>
Filter (distances) => (values)
{{{_FILTERS[preprocess.interpolation]}}}
"""
    return inliner.inline_local_functions(parser.parse_model(text.replace("OPSET", str(opset))))


def pixel_order(preprocess: Preprocess) -> list[int]:
    """For each pixel of an image, row by row, the pixel that the transform puts there."""
    height, width = preprocess.image_size
    places = torch.arange(height * width, dtype=torch.float64).reshape(1, 1, height, width)
    transformed = places if preprocess.transform is None else preprocess.transform(places)
    return transformed.flatten().long().tolist()


def _transformed(preprocess: Preprocess) -> str:
    """The permutation of `Preprocess.transform`, as a gather of all pixels."""
    if preprocess.transform is None:
        return f"{OUTPUT} = Identity (divided)"
    height, width = preprocess.image_size
    order = pixel_order(preprocess)
    return f"""order = Constant <value = int64[{len(order)}] {_numbers(order)}> ()
    flat_shape = Constant <value_ints = [0, 3, -1]> ()
    flat = Reshape (divided, flat_shape)
    permuted = Gather <axis = 2> (flat, order)
    output_shape = Constant <value_ints = [0, 3, {height}, {width}]> ()
    {OUTPUT} = Reshape (permuted, output_shape)"""


def _numbers(values: "np.typing.ArrayLike") -> str:
    """ONNX's text for the values of a tensor, which are exact."""
    return "{" + ", ".join(map(repr, np.asarray(values).tolist())) + "}"
