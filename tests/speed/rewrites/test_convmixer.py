"""ConvMixer with native kernels: outputs, gradients and running statistics of the stock model."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from mixlab.models.convmixer import ConvMixer, ConvMixerBlock, ConvMixerConfig
from mixlab.speed.kernels.activation_norm import Norm, activation_norm, depthwise_activation_norm
from mixlab.speed.plan import ComputeMode
from mixlab.speed.rewrites.convmixer import FusedConvMixerBlock, fuse_convmixer, is_stock_convmixer
from mixlab.zoo.architecture import create_model

CPU = torch.device("cpu")
LAYOUTS = (torch.contiguous_format, torch.channels_last)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def convmixer(**fields: object) -> ConvMixer:
    sizes = {"patch_size": 2, "kernel_size": 3, "channels": 6, "depth": 2, "classes": 3, "image_size": 8}
    return ConvMixer(ConvMixerConfig(**(sizes | fields)))  # pyright: ignore[reportArgumentType]


def gradients(model: nn.Module, images: Tensor, precision: str = "fp32") -> list[Tensor]:
    """The logits, then the gradient of the images and of each parameter."""
    images = images.clone().requires_grad_()
    with ComputeMode(precision).autocast(CPU):  # pyright: ignore[reportArgumentType]
        logits = model(images)
    F.cross_entropy(logits.to(images.dtype), torch.arange(len(images)) % logits.shape[1]).backward()
    assert images.grad is not None
    found = [parameter.grad for parameter in model.parameters()]
    return [logits.detach(), images.grad, *(gradient for gradient in found if gradient is not None)]


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 70),
    kernel_size=st.integers(1, 11),
    batch=st.integers(2, 5),
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    patch_size=st.integers(1, 2),
    activation=st.sampled_from(["gelu", "relu"]),
)
@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths")
def test_logits_gradients_and_running_statistics_are_those_of_the_stock_model(
    channels, kernel_size, batch, rows, columns, patch_size, activation
):
    """In float64, for any kernel, even ones too, any number of channels and any rectangle."""
    sizes = {"channels": channels, "kernel_size": kernel_size, "patch_size": patch_size, "activation": activation}
    stock = convmixer(**sizes).double()
    fused = fuse_convmixer(copy.deepcopy(stock))
    images = torch.randn(batch, 3, patch_size * rows, patch_size * columns, dtype=torch.float64)
    expected, found = gradients(stock, images), gradients(fused, images)
    assert len(found) == len(expected) == 2 + len(list(stock.parameters()))
    for value, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-7, atol=1e-9)
    for (name, value), reference in zip(fused.named_buffers(), stock.buffers(), strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 5), (1, 4)])
def test_gradients_are_those_of_finite_differences(kernel, activation):
    images, weight = torch.randn(2, 2, 3, 4, dtype=torch.float64), torch.randn(2, 1, *kernel, dtype=torch.float64)
    vectors = torch.randn(3, 2, dtype=torch.float64)
    arguments = [tensor.requires_grad_() for tensor in (images, weight, *vectors)]

    def depthwise(images: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return depthwise_activation_norm(images, weight, bias, activation, Norm(scale, shift, 1e-5)).images

    def pointwise(images: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return activation_norm(images, bias, activation, Norm(scale, shift, 1e-5)).images

    assert torch.autograd.gradcheck(depthwise, arguments)
    assert torch.autograd.gradcheck(pointwise, [arguments[0], *arguments[2:]])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kernel_size", [5, 9])
@pytest.mark.parametrize("channels", [40, 260])  # with 260, the weight gradient in bf16 is a matrix product
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_errors_are_about_those_of_the_stock_model_in_both_precisions(kernel_size, layout, channels, precision):
    """The norm of each error relative to float64 is at most 1.5 times that of the stock model, or 1e-5.

    The fused model computes in channels last whatever the layout of its kernels, where PyTorch's convolutions round
    differently, so the reference is the larger error of the stock model in the two layouts.
    """
    stock = convmixer(kernel_size=kernel_size, channels=channels, image_size=32)
    stock.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    images = torch.randn(8, 3, 32, 32)
    exact = gradients(copy.deepcopy(stock).double(), images.double())

    def errors(model: nn.Module) -> list[float]:
        found = gradients(model, images, precision)
        return [float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]

    of_stock = zip(*(errors(copy.deepcopy(stock).to(memory_format=each)) for each in LAYOUTS), strict=True)  # pyright: ignore
    for error, stock_errors in zip(errors(fuse_convmixer(copy.deepcopy(stock))), of_stock, strict=True):
        assert error <= max(1.5 * max(stock_errors), 1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_results_do_not_depend_on_the_number_of_threads(threads):
    model, images = fuse_convmixer(convmixer(channels=70)), torch.randn(5, 3, 8, 8)
    found = []
    for number in (1, threads):
        with torch_threads(number):
            found.append(gradients(copy.deepcopy(model), images, "bf16"))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


class torch_threads:  # noqa: N801
    def __init__(self, number: int):
        self.number, self.before = number, torch.get_num_threads()

    def __enter__(self) -> None:
        torch.set_num_threads(self.number)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.before)


def test_a_large_mean_does_not_reduce_the_precision_of_the_variance():
    images = torch.randn(4, 3, 8, 8) + 300
    found = activation_norm(images, torch.zeros(3), "relu", Norm(torch.ones(3), torch.zeros(3), 0.0))
    assert (found.images.double().var((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_pixel_that_is_not_a_number_is_not_hidden(activation):
    stock = convmixer(activation=activation)
    images = torch.randn(3, 3, 8, 8)
    images[0, 0, 0, 0] = torch.nan
    fused = fuse_convmixer(copy.deepcopy(stock))
    assert stock(images).isnan().all() and fused(images).isnan().all()
    assert all(buffer.isnan().any() for name, buffer in fused.named_buffers() if "running" in name)


def test_in_evaluation_the_logits_are_those_of_the_stock_model():
    stock = create_model("convmixer_nano", classes=3)
    fused, images = fuse_convmixer(copy.deepcopy(stock)).eval(), torch.randn(2, 3, 32, 32)
    assert torch.equal(fused(images), stock.eval()(images))


def test_parameters_buffers_and_their_names_stay_the_same():
    model = create_model("convmixer_nano", classes=3)
    state = model.state_dict(keep_vars=True)
    fused = fuse_convmixer(model)
    assert {type(block) for block in fused.body} == {FusedConvMixerBlock}  # pyright: ignore
    assert list(fused.state_dict()) == list(state)
    assert all(tensor is state[name] for name, tensor in fused.state_dict(keep_vars=True).items())


class OwnBlock(ConvMixerBlock):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def test_only_a_stock_stem_and_stock_blocks_are_fused():
    stock, own_stem, own_block = convmixer(), convmixer(), convmixer()
    own_stem.stem = nn.Sequential(*own_stem.stem, nn.GELU())
    own_block.body.append(OwnBlock(own_block.config))
    found = [is_stock_convmixer(model) for model in (stock, own_stem, own_block, nn.Sequential(stock))]
    assert found == [True, False, False, False]


def test_a_model_keeps_its_mode():
    assert not any(module.training for module in fuse_convmixer(convmixer().eval()).modules())
    assert all(module.training for module in fuse_convmixer(convmixer()).modules())


def test_four_tensors_are_kept_for_the_backward_pass_where_the_stock_block_keeps_six():
    stock = convmixer(channels=32).body[0]
    images = torch.randn(16, 32, 16, 16, requires_grad=True)
    saved = {}
    for block in (stock, FusedConvMixerBlock(copy.deepcopy(stock))):  # pyright: ignore[reportArgumentType]
        storages: dict[int, int] = {}

        def record(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with saved_tensors_hooks(record, lambda tensor: tensor):
            outputs = block(images)
        saved[type(block)] = sum(storages.values())
        del outputs
    assert saved[FusedConvMixerBlock] < 1.02 * 4 / 6 * saved[type(stock)]
